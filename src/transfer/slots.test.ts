import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { setImmediate as nextTurn } from "node:timers/promises";
import { ALIGNMENT_BYTES } from "#/lib/aligned-memory.ts";
import { SLOT_BYTES, type SharedBlock, Slots } from "#/transfer/slots.ts";

async function takeAll(slots: Slots): Promise<SharedBlock[]> {
  const taken: SharedBlock[] = [];
  for (let waits = false; !waits; ) {
    const next = slots.take().then((slot) => taken.push(slot));
    const before = taken.length;
    await Promise.race([next, nextTurn()]);
    waits = taken.length === before;
  }
  return taken;
}

describe("Slots", () => {
  it("are page-aligned and all different", async () => {
    using slots = new Slots();
    const taken = await takeAll(slots);
    assert.equal(taken.length, 6);
    assert.equal(new Set(taken.map(({ buffer }) => buffer)).size, 6);
    for (const { length, byteOffset } of taken) assert.deepEqual([length, byteOffset % ALIGNMENT_BYTES], [SLOT_BYTES, 0]);
  });

  it("come again when they are given back, to whoever waits first", async () => {
    using slots = new Slots();
    const [first, ...others] = await takeAll(slots);
    assert.ok(first);
    slots.giveBack(first);
    await nextTurn();
    const second = others[0] as SharedBlock;
    slots.giveBack(second);
    assert.equal(await slots.take(), second);
  });

  it("are lent to one transfer after the other, also those that it did not give back", async () => {
    const lent = new Set<SharedBlock>();
    for (let transfer = 0; transfer < 20; transfer++) {
      using slots = new Slots();
      for (const slot of await takeAll(slots)) lent.add(slot);
    }
    assert.equal(lent.size, 6);
  });

  it("are one for each where many transfers want them, and never fewer", async () => {
    const many = Array.from({ length: 40 }, () => new Slots());
    const taken = await Promise.all(many.map(takeAll));
    const counts = taken.map(({ length }) => length);
    assert.ok(counts.every((count) => count >= 1));
    assert.ok(counts.reduce((sum, count) => sum + count, 0) <= 24 + 40, String(counts));
    assert.equal(new Set(taken.flat()).size, taken.flat().length);
    for (const slots of many) slots[Symbol.dispose]();
    using after = new Slots();
    assert.equal((await takeAll(after)).length, 6);
  });
});
