/** Times of servers: UTC, in seconds. */
export function timeView(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19)}Z`;
}

/** Times of everything else: with microseconds and no zone. */
export function preciseTimeView(ms: number): string {
  return new Date(ms).toISOString().replace("Z", "000");
}

/** Null until the record was changed for the first time. */
export function updatedView({ createdAtMs, updatedAtMs }: { createdAtMs: number; updatedAtMs: number }): string | null {
  return updatedAtMs > createdAtMs ? preciseTimeView(updatedAtMs) : null;
}
