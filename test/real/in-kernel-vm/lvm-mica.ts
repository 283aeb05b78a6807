/** Mica with volumes in a thin pool and images in files. Runs inside the guest of `kernel-vm.sh`: `lvm.test.ts` starts it. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdtemp, open, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { it } from "node:test";
import { MiB, MINUTE_MS } from "#/lib/units.ts";
import { Lvm } from "#/tools/lvm.ts";
import { run } from "#/tools/run.ts";
import { MicaProcess } from "../../support/mica-process.ts";
import { FOLDER, LVM_CONF, makeVolumeGroup, sh } from "../support/volume-group.ts";

const CONTENT = randomBytes(16 * MiB);
const GROUP = "vg-mica";

await makeVolumeGroup(GROUP, "1G");
const folder = await mkdtemp(join(FOLDER, "mica-"));
const pools = [
  { name: "files", driver: "file", path: join(folder, "images"), roles: ["images"] },
  { name: "thin", driver: "lvm", lvm: { volumeGroup: GROUP, confPath: LVM_CONF }, roles: ["volumes", "cache"] },
];

/** Our logical volumes, each with the one that it was made of. */
async function volumes(): Promise<Map<string, string>> {
  const lines = await sh("lvs", "--noheadings", "--separator", ":", "-o", "lv_name,origin,lv_tags", "-S", "lv_tags=mica", GROUP);
  return new Map(lines.split("\n").filter(Boolean).map((line) => line.trim().split(":") as [string, string]));
}

async function upload(mica: MicaProcess, body: Uint8Array): Promise<string> {
  const { id } = await mica.json("POST", "/image/v2/images", { body: { name: "disk", disk_format: "qcow2", container_format: "bare" } });
  const { status } = await mica.ask("PUT", `/image/v2/images/${id}/file`, { body, headers: { "content-type": "application/octet-stream" } });
  assert.equal(status, 204);
  return id;
}

async function beginVolume(mica: MicaProcess, imageRef: string): Promise<string> {
  return (await mica.json("POST", "/volume/v3/volumes", { body: { volume: { size: 1, imageRef } } })).volume.id;
}

async function assertAvailable(mica: MicaProcess, id: string): Promise<void> {
  const look = async () => (await mica.json("GET", `/volume/v3/volumes/${id}`)).volume;
  const made = await mica.until(look, ({ status }) => status !== "creating", 3 * MINUTE_MS);
  assert.equal(made.status, "available", JSON.stringify(await mica.json("GET", "/mica/v1/operations"), undefined, 1));
}

async function assertClean(mica: MicaProcess): Promise<void> {
  const { code, output } = await mica.audit();
  assert.equal(code, 0, output);
}

async function qcow2(): Promise<Uint8Array> {
  const [raw, packed] = [join(folder, "disk.raw"), join(folder, "disk.qcow2")];
  await writeFile(raw, CONTENT);
  await run("qemu-img", ["convert", "-f", "raw", "-O", "qcow2", raw, packed], { timeoutMs: MINUTE_MS });
  return readFile(packed);
}

async function assertHolds(device: string): Promise<void> {
  await using file = await open(device);
  assert.deepEqual((await file.read(Buffer.alloc(CONTENT.length), 0, CONTENT.length, 0)).buffer, CONTENT);
}

it("converts an image into the thin pool once, clones it for each volume, and finishes after a kill what it had begun", async () => {
  await using mica = await MicaProcess.start({ env: { MICA_POOLS: JSON.stringify(pools) }, startLimitMs: 3 * MINUTE_MS });
  const disk = await qcow2();
  const image = await upload(mica, disk);
  await assertAvailable(mica, await beginVolume(mica, image));
  const first = await volumes();
  assert.equal(first.size, 2, "the cache entry, and a clone of it");
  await assertAvailable(mica, await beginVolume(mica, image));
  const clones = [...(await volumes())].filter(([, origin]) => origin !== "");
  assert.equal(clones.length, 2);
  for (const [name, origin] of clones) {
    assert.ok(first.has(origin));
    await assertHolds(new Lvm(GROUP).device(name));
  }

  const other = await upload(mica, disk);
  const converting = await beginVolume(mica, other);
  await mica.until(volumes, (found) => found.size > 3, MINUTE_MS);
  await mica.kill();
  await mica.start();
  await assertAvailable(mica, converting);
  await assertClean(mica);
  assert.equal((await volumes()).size, 5);

  await mica.json("DELETE", `/volume/v3/volumes/${converting}`);
  await mica.json("DELETE", `/image/v2/images/${other}`);
  await mica.until(volumes, (found) => found.size === 3, 2 * MINUTE_MS);
  assert.equal(await mica.stop(), 0);
  await assertClean(mica);
});
