import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { type Entry, type Failure, type Journal, runSaga, type Saga, type Step } from "./saga.ts";

/** One fresh place to run a saga in, and the two questions to ask of it afterwards. */
export interface World<Context> extends AsyncDisposable {
  readonly context: Context;
  /** Fails where the saga did not reach its goal. */
  assertDone(): Promise<void>;
  /** Fails where the saga left anything behind: records, disks, reservations, usage. */
  assertClean(): Promise<void>;
  /** Of a saga that never takes back what its users have seen: whether they see it. Whatever fails after that, the goal is reached. */
  isShown?(): Promise<boolean>;
}

export type MakeWorld<C> = () => Promise<World<C>>;

/**
 * The tests that every saga passes: each step failing before and after its work, each step and each undo repeated,
 * a crash at every write of the journal, forward and while unwinding.
 */
export function sagaContract<C>(name: string, saga: Saga<C>, makeWorld: MakeWorld<C>): void {
  describe(`${name} keeps the saga contract`, () => {
    it("reaches its goal", async () => {
      await using world = await makeWorld();
      assert.deepEqual(await runSaga(saga, world.context, new MemoryJournal()), { ended: "done" });
      await world.assertDone();
    });

    for (const [index, step] of saga.steps.entries()) {
      const isLast = index === saga.steps.length - 1;
      for (const when of ["before", "after"] as const) {
        it(`leaves nothing behind when ${step.name} fails ${when} its work`, async () => {
          await using world = await makeWorld();
          const outcome = await runSaga(failingAt(saga, index, when), world.context, new MemoryJournal());
          assert.deepEqual(outcome, { ended: "undone", because: { code: undefined, message: "injected" } });
          await assertUndone(world, { mayBeShown: isLast && when === "after" });
        });
      }

      it(`reaches its goal when ${step.name} runs twice`, async () => {
        await using world = await makeWorld();
        await runSaga(repeatingAt(saga, index), world.context, new MemoryJournal());
        await world.assertDone();
      });

      it(`leaves nothing behind when it fails after ${step.name}, and every undo runs twice`, async () => {
        await using world = await makeWorld();
        await runSaga(undoingTwice(failingAt(saga, index, "after")), world.context, new MemoryJournal());
        await assertUndone(world, { mayBeShown: isLast });
      });
    }

    it("ends as it says after a crash at any write of the journal", () => crashEverywhere(saga, saga, makeWorld));

    it("ends as it says after a crash at any write while it unwinds", () =>
      crashEverywhere(failingAt(saga, saga.steps.length - 1, "after"), saga, makeWorld));
  });
}

/** All is as before, unless its users see the result already, as only its last step may show it. */
async function assertUndone<C>(world: World<C>, { mayBeShown }: { readonly mayBeShown: boolean }): Promise<void> {
  const isShown = (await world.isShown?.()) ?? false;
  assert.ok(mayBeShown || !isShown, "it is shown before all is done");
  await (isShown ? world.assertDone() : world.assertClean());
}

/**
 * Crashes `first` at its first write and resumes as `then`; then at its second write, and so on.
 * `then` no longer fails, so an engine that forgot it was unwinding would end done on a half-undone world.
 */
async function crashEverywhere<C>(first: Saga<C>, then: Saga<C>, makeWorld: MakeWorld<C>): Promise<void> {
  for (let write = 1; ; write++) {
    await using world = await makeWorld();
    const journal = new MemoryJournal([], write);
    const ended = await Promise.race([runSaga(first, world.context, journal), journal.crashed]);
    if (ended) return;
    const outcome = await runSaga(then, world.context, journal.survivor());
    await (outcome.ended === "done" ? world.assertDone() : assertUndone(world, { mayBeShown: true }));
  }
}

/** The hard case is "after": the step does all of its work, and then fails. */
function failingAt<C>(saga: Saga<C>, index: number, when: "before" | "after"): Saga<C> {
  return withStep(saga, index, (step) => ({
    ...step,
    async run(context, scope) {
      if (when === "after") await step.run(context, scope);
      throw new Error("injected");
    },
  }));
}

function repeatingAt<C>(saga: Saga<C>, index: number): Saga<C> {
  return withStep(saga, index, (step) => ({
    ...step,
    async run(context, scope) {
      await step.run(context, scope);
      await step.run(context, scope);
    },
  }));
}

function undoingTwice<C>(saga: Saga<C>): Saga<C> {
  const steps = saga.steps.map((step) => ({
    ...step,
    async undo(context: C, because: Failure) {
      await step.undo?.(context, because);
      await step.undo?.(context, because);
    },
  }));
  return { ...saga, steps };
}

function withStep<C>(saga: Saga<C>, index: number, change: (step: Step<C>) => Step<C>): Saga<C> {
  const step = saga.steps[index];
  assert(step, `Saga ${saga.name} has no step ${index}`);
  return { ...saga, steps: saga.steps.with(index, change(step)) };
}

/** A journal in memory that can crash: from the write `crashAt` on, `append` never returns, as in a dead process. */
export class MemoryJournal implements Journal {
  readonly #entries: Entry[];
  readonly #crashAt: number;
  readonly #crash = Promise.withResolvers<undefined>();
  readonly crashed = this.#crash.promise;
  #writes = 0;

  constructor(entries: Entry[] = [], crashAt = Number.POSITIVE_INFINITY) {
    this.#entries = entries;
    this.#crashAt = crashAt;
  }

  async read(): Promise<readonly Entry[]> {
    return this.#entries;
  }

  append(entries: readonly Entry[]): Promise<void> {
    if (++this.#writes >= this.#crashAt) {
      this.#crash.resolve(undefined);
      return new Promise(() => {});
    }
    this.#entries.push(...entries);
    return Promise.resolve();
  }

  /** The journal as the next process finds it. */
  survivor(): MemoryJournal {
    return new MemoryJournal([...this.#entries]);
  }
}
