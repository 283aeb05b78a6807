import { formatBytes, HOUR_MS, MINUTE_MS, SECOND_MS } from "#/lib/units.ts";

/** "85 ms", "1.4 s", "2:05 min", "3:10 h". */
export function formatDuration(ms: number): string {
  if (ms < SECOND_MS) return `${Math.round(ms)} ms`;
  if (ms < MINUTE_MS) return `${(ms / SECOND_MS).toFixed(1)} s`;
  if (ms < HOUR_MS) return `${Math.floor(ms / MINUTE_MS)}:${twoDigits((ms % MINUTE_MS) / SECOND_MS)} min`;
  return `${Math.floor(ms / HOUR_MS)}:${twoDigits((ms % HOUR_MS) / MINUTE_MS)} h`;
}

/** "310 MiB/s". */
export function formatRate(bytes: number, ms: number): string {
  return `${formatBytes(Math.round((bytes / Math.max(ms, 1)) * SECOND_MS))}/s`;
}

export function formatPercent(fraction: number): string {
  return `${Math.floor(fraction * 100)} %`;
}

/** An ISO 8601 time as "2026-11-21 13:45:02" in the local zone. */
export function formatTime(iso: string): string {
  const time = new Date(iso);
  const date = [time.getFullYear(), twoDigits(time.getMonth() + 1), twoDigits(time.getDate())].join("-");
  return `${date} ${[time.getHours(), time.getMinutes(), time.getSeconds()].map(twoDigits).join(":")}`;
}

function twoDigits(value: number): string {
  return String(Math.floor(value)).padStart(2, "0");
}
