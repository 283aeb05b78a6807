/** How often a kind of call was made, how it ended, and how long it took in all. */
export interface CallCount {
  done: number;
  failed: number;
  durationMs: number;
}

/** What a pool has done since the process began. Bytes are those that passed through us. */
export class PoolMetrics {
  readonly calls = new Map<string, CallCount>();
  bytesRead = 0;
  bytesWritten = 0;

  begin(name: string): { end(outcome: "done" | "failed"): void } {
    const startedMs = performance.now();
    const count = this.calls.get(name) ?? { done: 0, failed: 0, durationMs: 0 };
    this.calls.set(name, count);
    return {
      end: (outcome) => {
        count[outcome] += 1;
        count.durationMs += performance.now() - startedMs;
      },
    };
  }
}
