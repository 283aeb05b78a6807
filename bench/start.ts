import { execFile } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { SECOND_MS } from "#/lib/units.ts";
import type { MicaProcess } from "../test/support/mica-process.ts";
import type { Bed, Measurement } from "./bed.ts";
import { atMost, type Figure, pairedRatio, summary, timed } from "./figure.ts";
import { memoryOf, processorMsOf } from "./process-facts.ts";

const START_MAX_MS = SECOND_MS;
const IDLE_MEMORY_MAX_MIB = 150;
/** Until the garbage of the start is collected, or not. */
const IDLE_AFTER_MS = 3 * SECOND_MS;

/** From the start of the process to the first answer, on a new and on a used data folder, and the memory at rest. */
export const start: Measurement = {
  about: "from the start of the process to the first answer of GET /identity/v3; memory at rest",
  async measure(bed) {
    const rounds = bed.isSmall ? 2 : 7;
    const fresh: number[] = [];
    const again: number[] = [];
    const bare: number[] = [];
    const resident: number[] = [];
    const processor: number[] = [];
    for (let round = 0; round < rounds; round++) {
      bare.push(await timed(() => promisify(execFile)(process.execPath, ["--eval", "0"])));
      const { mica, ms } = await firstAnswer(bed, `start-${round}`);
      fresh.push(ms);
      await mica.stop();
      again.push(await timed(() => startAgain(mica)));
      processor.push(await processorMsOf(mica.pid));
      if (round === 0) await sleep(IDLE_AFTER_MS);
      resident.push((await memoryOf(mica.pid)).residentMib);
      await mica.stop();
    }
    return [
      started("first answer, new data folder", fresh, bare),
      started("first answer, used data folder", again, bare),
      { figure: "processor time of that", unit: "ms", ...summary(processor) },
      { figure: "resident memory at rest", unit: "MiB", ...summary(resident), limit: atMost(Math.max(...resident), IDLE_MEMORY_MAX_MIB, "MiB") },
    ];
  },
};

function started(figure: string, samples: readonly number[], bare: readonly number[]): Figure {
  const limit = atMost(summary(samples).median, START_MAX_MS, "ms");
  return { figure, unit: "ms", ...summary(samples), ratio: pairedRatio(samples, bare), against: "an empty Node", limit };
}

async function firstAnswer(bed: Bed, name: string): Promise<{ mica: MicaProcess; ms: number }> {
  const startedMs = performance.now();
  const mica = await bed.mica(name);
  await answer(mica);
  return { mica, ms: performance.now() - startedMs };
}

async function startAgain(mica: MicaProcess): Promise<void> {
  await mica.start();
  await answer(mica);
}

async function answer(mica: MicaProcess): Promise<void> {
  const { status } = await fetch(`${mica.url}/identity/v3`);
  if (status !== 200) throw new Error(`GET /identity/v3 answered ${status}`);
}
