import { setTimeout as sleep } from "node:timers/promises";
import { MINUTE_MS } from "#/lib/units.ts";
import type { MicaProcess } from "../test/support/mica-process.ts";

/** How often the status is looked at: each look costs the server a request. */
const LOOK_MS = 5;

export interface MadeVolume {
  readonly id: string;
  /** From the call until the answer, and until the volume was seen available. */
  readonly answeredMs: number;
  readonly availableMs: number;
}

/** Creates a volume from an image, and waits until it is available. */
export async function createVolume(mica: MicaProcess, imageId: string, sizeGib: number): Promise<MadeVolume> {
  const startedMs = performance.now();
  const { volume } = await mica.json("POST", "/volume/v3/volumes", { body: { volume: { size: sizeGib, imageRef: imageId } } });
  const answeredMs = performance.now() - startedMs;
  await untilAvailable(mica, volume.id);
  return { id: volume.id, answeredMs, availableMs: performance.now() - startedMs };
}

async function untilAvailable(mica: MicaProcess, id: string): Promise<void> {
  for (const endMs = Date.now() + 5 * MINUTE_MS; Date.now() < endMs; await sleep(LOOK_MS)) {
    const { volume } = await mica.json("GET", `/volume/v3/volumes/${id}`);
    if (volume.status === "available") return;
    if (volume.status !== "creating") throw new Error(`The volume became ${volume.status}.`);
  }
  throw new Error("The volume is not available after five minutes.");
}

export async function deleteVolume(mica: MicaProcess, id: string): Promise<void> {
  await mica.json("DELETE", `/volume/v3/volumes/${id}`, { status: 202 });
  await mica.until(async () => (await mica.ask("GET", `/volume/v3/volumes/${id}`)).status, (status) => status === 404);
}

export interface OperationFacts {
  readonly plan: { readonly strategy: string };
  readonly actual: { readonly strategy?: string; readonly bytesWritten?: number; readonly bytesTemporary?: number };
  readonly durationMs: number;
}

/** What the operation that made the volume says of itself. */
export async function operationOf(mica: MicaProcess, subjectId: string): Promise<OperationFacts> {
  const { operations } = await mica.json("GET", `/mica/v1/operations?subject=${subjectId}`);
  return operations[0];
}
