/**
 * `kill -9` of the real process in the middle of an upload, of a volume from an image, of an image from a volume and of a
 * snapshot, at many moments; after the restart the operation is finished or cleanly failed, and the audit finds nothing.
 */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { randomFillSync } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdtemp, open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { after, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { GiB, MiB } from "#/lib/units.ts";
import { MicaProcess } from "../support/mica-process.ts";

const run = promisify(execFile);

/** Enough data that a conversion takes some hundreds of milliseconds. */
const DATA_BYTES = 384 * MiB;
/** The moments of the kills, ms after the request. */
const MOMENTS_MS = [5, 60, 150, 300, 500];

let folder: string;
let qcow2: string;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "mica-kill-"));
  const raw = join(folder, "disk.raw");
  qcow2 = join(folder, "disk.qcow2");
  await using file = await open(raw, "w");
  await file.truncate(GiB);
  const block = Buffer.alloc(16 * MiB);
  for (let offset = 0; offset < DATA_BYTES; offset += block.length) await file.write(randomFillSync(block), 0, block.length, offset * 2);
  await run("qemu-img", ["convert", "-f", "raw", "-O", "qcow2", raw, qcow2]);
});

after(() => rm(folder, { recursive: true, force: true }));

async function queueImage(mica: MicaProcess, diskFormat = "qcow2"): Promise<string> {
  const { id } = await mica.json("POST", "/image/v2/images", { body: { name: "disk", disk_format: diskFormat, container_format: "bare" } });
  return id;
}

async function upload(mica: MicaProcess, id: string): Promise<number> {
  const body = Readable.toWeb(createReadStream(qcow2));
  const response = await mica.ask("PUT", `/image/v2/images/${id}/file`, { body, headers: { "content-type": "application/octet-stream" } });
  return response.status;
}

const image = (mica: MicaProcess, id: string) => mica.json("GET", `/image/v2/images/${id}`);
const volume = async (mica: MicaProcess, id: string) => (await mica.json("GET", `/volume/v3/volumes/${id}`)).volume;

/** Nothing is left over: the audit says so beside the running service, and again after it was stopped. */
async function assertClean(mica: MicaProcess): Promise<void> {
  const { code, output } = await mica.audit();
  assert.equal(code, 0, output);
}

async function killAndRestart(mica: MicaProcess, afterMs: number): Promise<void> {
  await sleep(afterMs);
  await mica.kill();
  await mica.start();
}

describe("after kill -9 and a restart", () => {
  for (const afterMs of MOMENTS_MS) {
    it(`an upload that was ${afterMs} ms under way is queued again or active, and can be repeated`, async () => {
      await using mica = await MicaProcess.start();
      const id = await queueImage(mica);
      const uploading = upload(mica, id).catch(() => "cut off");
      await killAndRestart(mica, afterMs);
      await uploading;
      const { status } = await mica.until(() => image(mica, id), (found) => found.status !== "saving");
      assert.match(status, /queued|active/);
      await assertClean(mica);
      if (status === "queued") assert.equal(await upload(mica, id), 204);
      assert.equal((await image(mica, id)).status, "active");
      await assertClean(mica);
    });
  }

  it("volumes from an image, an image from a volume, and a snapshot end whole, whenever the kill comes", async () => {
    await using mica = await MicaProcess.start();
    for (const afterMs of MOMENTS_MS) {
      const imageId = await queueImage(mica); // A new one each time: the cache does not know it.
      assert.equal(await upload(mica, imageId), 204);
      const created = await createVolumeAndKill(mica, imageId, afterMs);
      await uploadVolumeAndKill(mica, created, afterMs);
      await snapshotAndKill(mica, created, afterMs % 100);
      await assertClean(mica);
    }
    assert.equal(await mica.stop(), 0);
    await assertClean(mica);
  });
});

async function createVolumeAndKill(mica: MicaProcess, imageId: string, afterMs: number): Promise<string> {
  const { volume: requested } = await mica.json("POST", "/volume/v3/volumes", { body: { volume: { size: 1, imageRef: imageId } } });
  await killAndRestart(mica, afterMs);
  const made = await mica.until(() => volume(mica, requested.id), ({ status }) => status !== "creating");
  assert.equal(made.status, "available", "what was begun is finished");
  await assertClean(mica);
  return made.id;
}

async function uploadVolumeAndKill(mica: MicaProcess, volumeId: string, afterMs: number): Promise<void> {
  const action = { "os-volume_upload_image": { image_name: "captured", disk_format: "qcow2" } };
  const { "os-volume_upload_image": begun } = await mica.json("POST", `/volume/v3/volumes/${volumeId}/action`, { body: action });
  await killAndRestart(mica, afterMs);
  const found = await mica.until(() => volume(mica, volumeId), ({ status }) => status !== "uploading");
  assert.equal(found.status, "available");
  const captured = await mica.until(() => image(mica, begun.image_id), ({ status }) => status !== "saving" && status !== "queued");
  assert.equal(captured.status, "active");
  await assertClean(mica);
  await mica.json("DELETE", `/image/v2/images/${begun.image_id}`);
}

async function snapshotAndKill(mica: MicaProcess, volumeId: string, afterMs: number): Promise<void> {
  const { snapshot } = await mica.json("POST", "/volume/v3/snapshots", { body: { snapshot: { volume_id: volumeId } } });
  await killAndRestart(mica, afterMs);
  const look = async () => (await mica.json("GET", `/volume/v3/snapshots/${snapshot.id}`)).snapshot;
  const { status } = await mica.until(look, (found) => found.status !== "creating");
  assert.equal(status, "available");
  await mica.json("DELETE", `/volume/v3/volumes/${volumeId}?cascade=true`, { status: 202 });
  await mica.until(async () => (await mica.ask("GET", `/volume/v3/volumes/${volumeId}`)).status, (code) => code === 404);
}
