import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { type Database, openDatabase } from "#/db/database.ts";
import { systemClock } from "#/lib/clock.ts";
import { KeyedLocks } from "#/lib/keyed-locks.ts";
import { GroupedSlots } from "#/lib/keyed-slots.ts";
import { silentLog } from "#/lib/log.ts";
import { MINUTE_MS } from "#/lib/units.ts";
import type { SagaContext } from "#/saga/context.ts";
import { type Entry, type Journal, runSaga, type Saga } from "#/saga/engine/saga.ts";
import { SagaRunner } from "#/saga/runner.ts";
import { Pools } from "#/storage/pools.ts";
import { MemoryHypervisor } from "#/vm/memory/driver.ts";
import { sagaLimits } from "../test/support/saga-limits.ts";
import type { Measurement } from "./bed.ts";
import { type Figure, pairedRatio, summary, timed } from "./figure.ts";

const STEPS = 20;
const PER_ROUND = 20;

/** Does nothing, in many steps: what is left is the engine. */
const idle: Saga<SagaContext<object>> = {
  name: "idle",
  steps: Array.from({ length: STEPS }, (_, index) => ({ name: `step ${index}`, run: async () => {}, undo: async () => {} })),
};

/** What the engine itself takes of each step: its own work, and the journal on stable storage. */
export const saga: Measurement = {
  about: `an operation of ${STEPS} empty steps: per step, against one bare commit in the same database`,
  async measure(bed) {
    const folder = join(bed.folder, "saga");
    await mkdir(folder);
    await using db = await openDatabase(join(folder, "mica.db"));
    const services = { db, pools: new Pools([]), clock: systemClock, log: silentLog, locks: new KeyedLocks(), captureSlots: new GroupedSlots(5), limits: sagaLimits(folder, { stagingBytesMax: 0 }), hypervisor: new MemoryHypervisor() };
    const runner = new SagaRunner(services, [idle], { leaseMs: MINUTE_MS, retentionMs: MINUTE_MS });
    const [engine, durable, commit]: [number[], number[], number[]] = [[], [], []];
    for (let round = 0; round < (bed.isSmall ? 3 : 15); round++) {
      engine.push((await timed(runInMemory)) / STEPS);
      commit.push((await timed(() => commitOften(db))) / PER_ROUND);
      durable.push((await timed(() => runDurably(db, runner))) / STEPS);
    }
    return figuresOf({ engine, durable, commit });
  },
};

async function runInMemory(): Promise<void> {
  const { ended } = await runSaga(idle, {} as SagaContext<object>, new VolatileJournal());
  if (ended !== "done") throw new Error(`The saga ended ${ended}.`);
}

class VolatileJournal implements Journal {
  readonly #entries: Entry[] = [];

  async read(): Promise<readonly Entry[]> {
    return this.#entries;
  }

  async append(entries: readonly Entry[]): Promise<void> {
    this.#entries.push(...entries);
  }
}

async function commitOften(db: Database): Promise<void> {
  for (let count = 0; count < PER_ROUND; count++) {
    const row = { name: "bench", value: String(performance.now()) };
    await db.insertInto("setting").values(row).onConflict((conflict) => conflict.column("name").doUpdateSet({ value: row.value })).execute();
  }
}

async function runDurably(db: Database, runner: SagaRunner): Promise<void> {
  const meta = { projectId: null, userId: null, requestId: null, subject: { kind: "volume", id: "bench" } };
  const id = await db.transaction().execute((trx) => runner.begin(trx, idle, {}, meta));
  const { state } = await runner.run(id);
  if (state !== "done") throw new Error(`The operation ended ${state}.`);
}

function figuresOf({ engine, durable, commit }: Record<"engine" | "durable" | "commit", number[]>): Figure[] {
  const inMicroseconds = (samples: readonly number[]) => summary(samples.map((ms) => ms * 1000));
  return [
    { figure: "one bare commit", unit: "µs", ...inMicroseconds(commit) },
    { figure: "a step, journal in memory", unit: "µs", ...inMicroseconds(engine) },
    { figure: "a step, journal on stable storage", unit: "µs", ...inMicroseconds(durable), ratio: pairedRatio(durable, commit), against: "a bare commit" },
  ];
}
