/** Sizes are plain numbers of bytes; every name that holds one ends in `Bytes`. */
export const KiB = 1024;
export const MiB = 1024 * KiB;
export const GiB = 1024 * MiB;
export const TiB = 1024 * GiB;

/** Times are plain numbers of milliseconds; every name that holds one ends in `Ms`. */
export const SECOND_MS = 1000;
export const MINUTE_MS = 60 * SECOND_MS;
export const HOUR_MS = 60 * MINUTE_MS;
export const DAY_MS = 24 * HOUR_MS;

/** Whole GiB that hold `bytes`: OpenStack's volume sizes are integers of GiB. */
export function gibibytesFor(bytes: number): number {
  return Math.ceil(bytes / GiB);
}

/** For people: "1.50 GiB", "12 KiB", "0 B". */
export function formatBytes(bytes: number): string {
  for (const [unit, size] of [["TiB", TiB], ["GiB", GiB], ["MiB", MiB], ["KiB", KiB]] as const) {
    if (bytes >= size) return `${(bytes / size).toFixed(bytes % size === 0 ? 0 : 2)} ${unit}`;
  }
  return `${bytes} B`;
}
