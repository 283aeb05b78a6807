import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { MemoryJournal, sagaContract } from "./contract.ts";
import { runSaga, type Saga, SUSPEND } from "./saga.ts";

interface Marks {
  readonly made: Set<string>;
}

const three: Saga<Marks> = {
  name: "three",
  steps: ["a", "b", "c"].map((name) => ({
    name,
    run: async ({ made }) => void made.add(name),
    undo: async ({ made }) => void made.delete(name),
  })),
};

sagaContract("a saga of three steps", three, async () => {
  const made = new Set<string>();
  return {
    context: { made },
    assertDone: async () => assert.deepEqual([...made], ["a", "b", "c"]),
    assertClean: async () => assert.deepEqual([...made], []),
    async [Symbol.asyncDispose]() {},
  };
});

describe("runSaga()", () => {
  const withB = (run: Saga<Marks>["steps"][number]["run"], resumable = true): Saga<Marks> => ({
    ...three,
    steps: three.steps.map((step) => (step.name === "b" ? { ...step, run, resumable } : step)),
  });

  it("undoes because of the reason of a cancel, not of what the step made of it", async () => {
    const cancel = new AbortController();
    const made = new Set<string>();
    const saga = withB(async (_, { signal }) => {
      cancel.abort(Object.assign(new Error("The user cancelled it."), { code: "cancelled" }));
      throw new Error(`tool killed: ${signal.aborted}`);
    });
    const outcome = await runSaga(saga, { made }, new MemoryJournal(), { signal: cancel.signal });
    assert.deepEqual(outcome, { ended: "undone", because: { code: "cancelled", message: "The user cancelled it." } });
    assert.deepEqual([...made], []);
  });

  it("stands where it is when suspended, and goes on from there", async () => {
    const stop = new AbortController();
    const made = new Set<string>();
    const journal = new MemoryJournal();
    const saga = withB(async (_, { signal }) => {
      stop.abort(SUSPEND);
      signal.throwIfAborted();
    });
    assert.deepEqual(await runSaga(saga, { made }, journal, { signal: stop.signal }), { ended: "suspended" });
    assert.deepEqual([...made], ["a"]);
    assert.deepEqual(await runSaga(three, { made }, journal.survivor()), { ended: "done" });
    assert.deepEqual([...made], ["a", "b", "c"]);
  });

  it("undoes a step that cannot be resumed, when suspended in it and when crashed in it", async () => {
    const stop = new AbortController();
    const made = new Set<string>();
    const saga = withB(async (_, { signal }) => {
      stop.abort(SUSPEND);
      signal.throwIfAborted();
    }, false);
    const outcome = await runSaga(saga, { made }, new MemoryJournal(), { signal: stop.signal });
    const interrupted = { ended: "undone", because: { code: "interrupted", message: "The process ended in the middle of it." } };
    assert.deepEqual(outcome, interrupted);
    assert.deepEqual([...made], []);

    const crashed = new MemoryJournal([
      { step: "a", event: "started" },
      { step: "a", event: "done" },
      { step: "b", event: "started" },
    ]);
    const resumed = await runSaga(withB(async () => assert.fail("it must not run"), false), { made }, crashed);
    assert.deepEqual(resumed, interrupted);
  });

  it("reports the progress of each step", async () => {
    const seen: string[] = [];
    const saga = withB(async (_, { progress }) => progress(0.5));
    await runSaga(saga, { made: new Set() }, new MemoryJournal(), { onProgress: (step, fraction) => seen.push(`${step} ${fraction}`) });
    assert.deepEqual(seen, ["b 0.5"]);
  });
});
