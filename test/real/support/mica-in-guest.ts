/** What tests of Mica share that run inside the guest of `kernel-vm.sh`. */
import assert from "node:assert/strict";
import { mkdtemp, readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MINUTE_MS } from "#/lib/units.ts";
import { run } from "#/tools/run.ts";
import type { MicaProcess, MicaProcessOptions } from "../../support/mica-process.ts";

/** How Mica is started with these pools. A start takes seconds here, and more on a busy machine. */
export function withPools(pools: readonly object[]): MicaProcessOptions {
  return { env: { MICA_POOLS: JSON.stringify(pools) }, startLimitMs: 3 * MINUTE_MS };
}

export async function upload(mica: MicaProcess, diskFormat: string, body: Uint8Array): Promise<string> {
  const { id } = await mica.json("POST", "/image/v2/images", { body: { name: "disk", disk_format: diskFormat, container_format: "bare" } });
  const { status } = await mica.ask("PUT", `/image/v2/images/${id}/file`, { body, headers: { "content-type": "application/octet-stream" } });
  assert.equal(status, 204);
  return id;
}

export async function beginVolume(mica: MicaProcess, imageRef: string): Promise<string> {
  return (await mica.json("POST", "/volume/v3/volumes", { body: { volume: { size: 1, imageRef } } })).volume.id;
}

export async function assertAvailable(mica: MicaProcess, id: string): Promise<void> {
  const look = async () => (await mica.json("GET", `/volume/v3/volumes/${id}`)).volume;
  const made = await mica.until(look, ({ status }) => status !== "creating", 3 * MINUTE_MS);
  assert.equal(made.status, "available", JSON.stringify(await mica.json("GET", "/mica/v1/operations"), undefined, 1));
}

export async function assertClean(mica: MicaProcess): Promise<void> {
  const { code, output } = await mica.audit();
  assert.equal(code, 0, output);
}

/** The bytes of a qcow2 file with this content, which are compressed: unpacking takes a while. */
export async function qcow2Of(content: Uint8Array): Promise<Uint8Array> {
  const folder = await mkdtemp(join(tmpdir(), "mica-qcow2-"));
  const [raw, packed] = [join(folder, "disk.raw"), join(folder, "disk.qcow2")];
  await writeFile(raw, content);
  await run("qemu-img", ["convert", "-c", "-f", "raw", "-O", "qcow2", raw, packed], { timeoutMs: MINUTE_MS });
  return readFile(packed);
}
