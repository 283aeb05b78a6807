import assert from "node:assert/strict";
import { it } from "node:test";
import fc from "fast-check";
import { dataRuns, isZero, ZEROES } from "#/lib/zeroes.ts";

it("isZero() sees a single byte anywhere, in blocks of any length", () => {
  const anyBlock = fc.integer({ min: 1, max: 3 * ZEROES.length }).chain((length) => fc.tuple(fc.constant(length), fc.nat(length - 1)));
  fc.assert(
    fc.property(anyBlock, ([length, position]) => {
      const block = new Uint8Array(length);
      assert.ok(isZero(block));
      block[position] = 1;
      assert.ok(!isZero(block));
    }),
    { numRuns: 50 },
  );
});

it("isZero() holds for nothing, and for the shared block of zeroes", () => {
  assert.ok(isZero(new Uint8Array(0)));
  assert.ok(isZero(ZEROES.subarray(3, 5)));
});

it("dataRuns() covers every byte that is not zero, and no whole granule of zeroes", () => {
  const bytes = fc.uint8Array({ maxLength: 200, max: 1 });
  fc.assert(
    fc.property(bytes, fc.integer({ min: 1, max: 20 }), (block, granuleBytes) => {
      const kept = new Uint8Array(block.length);
      for (const { start, end } of dataRuns(block, granuleBytes)) {
        assert.ok(start % granuleBytes === 0 && end > start);
        kept.set(block.subarray(start, end), start);
        assert.ok(!isZero(block.subarray(start, start + granuleBytes)));
      }
      assert.deepEqual(kept, block);
    }),
  );
});

it("dataRuns() joins neighbours", () => {
  assert.deepEqual(dataRuns(Uint8Array.of(1, 0, 1, 1, 0, 0, 0, 0, 1), 2), [
    { start: 0, end: 4 },
    { start: 8, end: 9 },
  ]);
});
