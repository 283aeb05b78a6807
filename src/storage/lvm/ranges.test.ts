import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Ranges } from "#/storage/lvm/ranges.ts";

describe("Ranges", () => {
  it("gives what was never written, however the writes came", () => {
    const ranges = new Ranges();
    assert.deepEqual(ranges.gapsUpTo(10), [{ start: 0, end: 10 }]);
    for (const [start, end] of [[8, 9], [2, 3], [4, 5], [3, 4]] as const) ranges.add({ start, end });
    assert.deepEqual(ranges.gapsUpTo(10), [{ start: 0, end: 2 }, { start: 5, end: 8 }, { start: 9, end: 10 }]);
    ranges.add({ start: 0, end: 9 });
    assert.deepEqual(ranges.gapsUpTo(10), [{ start: 9, end: 10 }]);
    assert.deepEqual(ranges.gapsUpTo(9), []);
  });

  it("agrees with a map of single bytes", () => {
    let state = 1;
    const random = (below: number) => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) % below;
    for (let round = 0; round < 200; round++) {
      const [ranges, bytes] = [new Ranges(), new Uint8Array(40)];
      for (let write = 0; write < 8; write++) {
        const start = random(39);
        const end = start + 1 + random(40 - start - 1);
        ranges.add({ start, end });
        bytes.fill(1, start, end);
      }
      const missing = new Uint8Array(40).fill(1);
      for (const { start, end } of ranges.gapsUpTo(40)) missing.fill(0, start, end);
      assert.deepEqual(missing, bytes);
    }
  });
});
