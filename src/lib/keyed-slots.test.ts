import assert from "node:assert/strict";
import { it } from "node:test";
import { KeyedSlots } from "./keyed-slots.ts";

it("a key waits until another gives its slot back, and has it once however often it asks", async () => {
  const slots = new KeyedSlots(1);
  await slots.take("a");
  await slots.take("a");
  let isIn = false;
  const waiting = slots.take("b").then(() => (isIn = true));
  await new Promise(setImmediate);
  assert.equal(isIn, false);
  await slots.giveBack("a");
  await waiting;
  await slots.giveBack("b");
  await slots.giveBack("b");
  await slots.take("c");
});

it("a key that gives up waiting can ask again", async () => {
  const slots = new KeyedSlots(1);
  await slots.take("a");
  await assert.rejects(slots.take("b", AbortSignal.abort(new Error("no time"))), /no time/);
  await slots.giveBack("a");
  await slots.take("b");
});
