import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { AppError } from "#/domain/errors.ts";
import { rejectsWith } from "#/storage/contract/bench.ts";
import { ShareWatch } from "#/storage/nfs/watch.ts";

const FRESH_MS = 20;

/** A server that can be taken away. */
function server() {
  const state = { isAway: false, asked: 0 };
  const watch = new ShareWatch(async () => {
    state.asked += 1;
    if (state.isAway) throw new AppError("pool_unavailable", "it does not answer");
  }, FRESH_MS);
  return { state, watch };
}

const never = () => new Promise<never>(() => {});

describe("ShareWatch", () => {
  it("asks once for all calls that come together, and believes the answer for a while", async () => {
    const { state, watch } = server();
    const answers = await Promise.all([1, 2, 3].map((n) => watch.guard({}, async () => n)));
    assert.deepEqual([answers, state.asked], [[1, 2, 3], 1]);
    await sleep(2 * FRESH_MS);
    await watch.guard({}, async () => {});
    assert.equal(state.asked, 2);
  });

  it("begins nothing while the server is away, and goes on when it is back", async () => {
    const { state, watch } = server();
    state.isAway = true;
    await rejectsWith("pool_unavailable", () => watch.guard({}, () => assert.fail("begun all the same")));
    state.isAway = false;
    assert.equal(await watch.guard({}, async () => 7), 7);
  });

  it("answers callers whose work hangs, and tells the work to undo what it does later", async () => {
    const { state, watch } = server();
    let signal: AbortSignal | undefined;
    const hanging = watch.guard({}, (options) => {
      signal = options.signal;
      return never();
    });
    await sleep(2 * FRESH_MS);
    assert.equal(signal?.aborted, false);
    state.isAway = true;
    await rejectsWith("pool_unavailable", () => hanging);
    assert.equal(signal?.aborted, true);
  });

  it("passes on the caller's signal, the work's result and its error, and stops asking when all is done", async () => {
    const { state, watch } = server();
    const stop = new AbortController();
    await watch.guard({ signal: stop.signal }, async ({ signal }) => {
      stop.abort();
      assert.equal(signal?.aborted, true);
    });
    await assert.rejects(watch.guard({}, () => Promise.reject(new Error("its own"))), /its own/);
    const { asked } = state;
    await sleep(3 * FRESH_MS);
    assert.equal(state.asked, asked);
  });
});
