import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { untilAborted } from "./until-aborted.ts";

async function* chunks(...values: string[]): AsyncGenerator<string> {
  yield* values;
}

async function* stuck(): AsyncGenerator<string> {
  yield "first";
  await new Promise(() => {});
}

describe("untilAborted()", () => {
  it("gives all chunks where nothing is aborted", async () => {
    assert.deepEqual(await Array.fromAsync(untilAborted(chunks("a", "b"), new AbortController().signal)), ["a", "b"]);
  });

  it("ends with the reason while the source is stuck", async () => {
    const stop = new AbortController();
    const reason = new Error("enough");
    const reading = untilAborted(stuck(), stop.signal);
    assert.equal((await reading.next()).value, "first");
    setTimeout(() => stop.abort(reason), 5);
    await assert.rejects(reading.next(), reason);
  });

  it("lets the source clean up when its reader stops early", async () => {
    let closed = false;
    const source = (async function* () {
      try {
        yield 1;
        yield 2;
      } finally {
        closed = true;
      }
    })();
    for await (const value of untilAborted(source, new AbortController().signal)) if (value === 1) break;
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(closed, true);
  });
});
