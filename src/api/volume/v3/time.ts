/** Times as this API has them: UTC with microseconds and no zone. */
export function timeView(ms: number): string {
  return new Date(ms).toISOString().replace("Z", "000");
}

/** Null until the record was changed for the first time. */
export function updatedView({ created_at, updated_at }: { created_at: number; updated_at: number }): string | null {
  return updated_at > created_at ? timeView(updated_at) : null;
}
