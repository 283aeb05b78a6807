import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { joined, listedUpTo, union } from "#/lib/ranges.ts";

type Range = { start: number; end: number };

async function* each(ranges: readonly Range[]): AsyncGenerator<Range> {
  yield* ranges;
}

const ordered = fc
  .array(fc.tuple(fc.nat(60), fc.integer({ min: 1, max: 9 })))
  .map((pairs) => pairs.map(([start, length]) => ({ start, end: start + length })).toSorted((a, b) => a.start - b.start));

function covered(...lists: (readonly Range[])[]): number[] {
  const bytes = new Set(lists.flat().flatMap(({ start, end }) => Array.from({ length: end - start }, (_, i) => start + i)));
  return [...bytes].toSorted((a, b) => a - b);
}

function assertApart(ranges: readonly Range[]): void {
  for (const [index, { start }] of ranges.entries()) assert.ok(index === 0 || start > (ranges[index - 1]?.end ?? 0));
}

describe("ranges", () => {
  it("listedUpTo() lists them all, or none, and asks for no more than it takes to know", async () => {
    let asked = 0;
    const three = async function* () {
      for (const start of [0, 2, 4]) {
        asked++;
        yield { start, end: start + 1 };
      }
    };
    assert.deepEqual((await listedUpTo(3, three()))?.map(({ start }) => start), [0, 2, 4]);
    asked = 0;
    assert.deepEqual([await listedUpTo(1, three()), asked], [undefined, 2]);
  });

  it("joined() names the same bytes, in ranges that do not touch", async () => {
    await fc.assert(
      fc.asyncProperty(ordered, async (ranges) => {
        const found = await Array.fromAsync(joined(each(ranges)));
        assert.deepEqual(covered(found), covered(ranges));
        assertApart(found);
      }),
    );
  });

  it("union() names the bytes of both, in order", async () => {
    await fc.assert(
      fc.asyncProperty(ordered, ordered, async (one, other) => {
        const found = await Array.fromAsync(union(each(one), each(other)));
        assert.deepEqual(covered(found), covered(one, other));
        assertApart(found);
      }),
    );
  });

  it("union() closes both when its reader has enough", async () => {
    let closed = 0;
    const endless = async function* () {
      try {
        for (let start = 0; ; start += 2) yield { start, end: start + 1 };
      } finally {
        closed += 1;
      }
    };
    for await (const { start } of union(endless(), endless())) if (start > 10) break;
    assert.equal(closed, 2);
  });
});
