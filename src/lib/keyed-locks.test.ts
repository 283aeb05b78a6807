import assert from "node:assert/strict";
import { setImmediate } from "node:timers/promises";
import { it } from "node:test";
import { KeyedLocks } from "./keyed-locks.ts";

it("KeyedLocks.take() lets one holder in at a time, in order, and others by on other keys", async () => {
  const locks = new KeyedLocks();
  const seen: string[] = [];
  const work = async (key: string, name: string) => {
    await using _ = await locks.take(key);
    seen.push(`${name} in`);
    await setImmediate();
    seen.push(`${name} out`);
  };
  await Promise.all([work("k", "a"), work("k", "b"), work("other", "c"), work("k", "d")]);
  assert.deepEqual(seen.filter((event) => !event.startsWith("c")), ["a in", "a out", "b in", "b out", "d in", "d out"]);
  assert.deepEqual(seen.indexOf("c in") < seen.indexOf("a out"), true);
});
