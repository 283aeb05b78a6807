import type { ByteRange } from "#/storage/driver.ts";

/** Ranges of bytes that were written, in any order; those that touch become one. */
export class Ranges {
  readonly #ranges: ByteRange[] = [];

  add({ start, end }: ByteRange): void {
    const first = this.#ranges.findLastIndex((range) => range.end < start) + 1;
    let next = first;
    const merged = { start, end };
    for (; next < this.#ranges.length; next++) {
      const range = this.#ranges[next] as ByteRange;
      if (range.start > merged.end) break;
      merged.start = Math.min(merged.start, range.start);
      merged.end = Math.max(merged.end, range.end);
    }
    this.#ranges.splice(first, next - first, merged);
  }

  /** Those that were added, in order. */
  all(): readonly ByteRange[] {
    return this.#ranges;
  }

  /** What is missing of the bytes from 0 to `end`, in order. */
  gapsUpTo(end: number): ByteRange[] {
    const edges = [...this.#ranges.filter(({ start }) => start < end), { start: end, end }];
    return edges.flatMap(({ start }, i) => {
      const gap = { start: edges[i - 1]?.end ?? 0, end: start };
      return gap.start < gap.end ? [gap] : [];
    });
  }
}
