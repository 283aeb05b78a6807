import assert from "node:assert/strict";
import { it } from "node:test";
import { GroupedSlots, KeyedSlots } from "./keyed-slots.ts";

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

it("of a group one key at a time has a slot, while others have theirs", async () => {
  const slots = new GroupedSlots(2);
  await slots.take("x", "a");
  let isIn = false;
  const waiting = slots.take("x", "b").then(() => (isIn = true));
  await slots.take("y", "c");
  assert.equal(isIn, false);
  await slots.giveBack("x", "a");
  await waiting;
});

it("without a limit only those of its group are waited for", async () => {
  const slots = new GroupedSlots(0);
  for (const group of ["x", "y", "z"]) await slots.take(group, group, AbortSignal.timeout(1000));
  await assert.rejects(slots.take("x", "b", AbortSignal.abort(new Error("no time"))), /no time/);
});
