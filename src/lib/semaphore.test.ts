import assert from "node:assert/strict";
import { it } from "node:test";
import { setImmediate as nextTurn } from "node:timers/promises";
import { Semaphore } from "#/lib/semaphore.ts";

it("a semaphore lets in as many as it has permits, and the others in order", async () => {
  const semaphore = new Semaphore(2);
  const log: number[] = [];
  let inside = 0;
  const visit = async (visitor: number) => {
    using _ = await semaphore.take();
    inside += 1;
    assert.ok(inside <= 2);
    log.push(visitor);
    await nextTurn();
    inside -= 1;
  };
  await Promise.all([0, 1, 2, 3, 4, 5].map(visit));
  assert.deepEqual(log, [0, 1, 2, 3, 4, 5]);
});

it("whoever leaves the queue takes no permit with them", async () => {
  const semaphore = new Semaphore(1);
  const held = await semaphore.take();
  const stop = new AbortController();
  const impatient = semaphore.take(stop.signal);
  const patient = semaphore.take();
  stop.abort(new Error("enough"));
  await assert.rejects(impatient, /enough/);
  held[Symbol.dispose]();
  held[Symbol.dispose]();
  (await patient)[Symbol.dispose]();
  (await semaphore.take())[Symbol.dispose]();
  await assert.rejects(semaphore.take(AbortSignal.abort(new Error("too late"))), /too late/);
});
