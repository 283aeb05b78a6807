/** Bytes from `start` up to, not with, `end`. */
interface Range {
  readonly start: number;
  readonly end: number;
}

/** Ranges in order: those that touch or overlap become one. */
export async function* joined(ranges: AsyncIterable<Range>): AsyncGenerator<Range> {
  let last: Range | undefined;
  for await (const { start, end } of ranges) {
    if (last && start <= last.end) last = { start: last.start, end: Math.max(last.end, end) };
    else {
      if (last) yield last;
      last = { start, end };
    }
  }
  if (last) yield last;
}

/** What is listed in memory at most: some 60 MB. A disk that has changed in more places is read faster in one pass. */
export const LISTED_RANGES_MAX = 1_000_000;

/** All of them, for what needs them at once; undefined where there are more than `countMax`, whose memory nobody has promised. */
export async function listedUpTo(countMax: number, ranges: AsyncIterable<Range>): Promise<Range[] | undefined> {
  const list: Range[] = [];
  for await (const range of ranges) if (list.push(range) > countMax) return undefined;
  return list;
}

/** What is in one or in both of two lists of ranges, each in order. */
export async function* union(one: AsyncIterable<Range>, other: AsyncIterable<Range>): AsyncGenerator<Range> {
  yield* joined(inOrder(one, other));
}

async function* inOrder(one: AsyncIterable<Range>, other: AsyncIterable<Range>): AsyncGenerator<Range> {
  const sources = [one[Symbol.asyncIterator](), other[Symbol.asyncIterator]()] as const;
  try {
    const heads = await Promise.all(sources.map((source) => source.next()));
    for (;;) {
      const [a, b] = heads.map((head) => (head.done ? undefined : (head.value as Range)));
      if (!a && !b) return;
      const index = !b || (a && a.start <= b.start) ? 0 : 1;
      yield (index === 0 ? a : b) as Range;
      heads[index] = await (sources[index] as AsyncIterator<Range>).next();
    }
  } finally {
    for (const source of sources) await source.return?.();
  }
}
