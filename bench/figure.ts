/** What was measured, in one row: the figure itself, and what it is compared with in the same run. */
export interface Figure {
  readonly figure: string;
  readonly unit: "ms" | "µs" | "MiB" | "bytes";
  readonly median: number;
  readonly p99?: number | undefined;
  /** The median against what `against` names, measured in the same run: a busy machine slows both. */
  readonly ratio?: number | undefined;
  readonly against?: string | undefined;
  /** What the figure has to be, and whether it is. */
  readonly limit?: Limit | undefined;
  readonly note?: string | undefined;
}

export interface Limit {
  readonly says: string;
  readonly met: boolean;
}

/** The limit that `value` stays at or below `max`. */
export function atMost(value: number, max: number, unit: string): Limit {
  return { says: `≤ ${max} ${unit}`.trim(), met: value <= max };
}

/** The value that the part `fraction` of the samples does not pass. */
export function percentile(samples: readonly number[], fraction: number): number {
  const sorted = samples.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * fraction))] ?? Number.NaN;
}

export function median(samples: readonly number[]): number {
  return percentile(samples, 0.5);
}

/** Median and p99; of fewer than a hundred samples the p99 is the largest. */
export function summary(samples: readonly number[]): { readonly median: number; readonly p99: number } {
  return { median: median(samples), p99: percentile(samples, 0.99) };
}

/** Each sample against its partner, which was measured right beside it; the median of these. */
export function pairedRatio(samples: readonly number[], partners: readonly number[]): number {
  return median(samples.map((sample, index) => sample / (partners[index] ?? Number.NaN)));
}

/** How long `work` takes, ms. */
export async function timed(work: () => Promise<unknown>): Promise<number> {
  const startedMs = performance.now();
  await work();
  return performance.now() - startedMs;
}
