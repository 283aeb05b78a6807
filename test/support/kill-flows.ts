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
import { GiB, MiB, MINUTE_MS } from "#/lib/units.ts";
import { MicaProcess, type MicaProcessOptions } from "./mica-process.ts";

const run = promisify(execFile);

/** Storage may wait half a minute for a client that was killed, more than once. */
const SETTLE_MS = 4 * MINUTE_MS;

/** A configuration of pools to be killed on, and how hard. */
export interface KillFlows {
  /** Where Mica runs, with fresh pools; called once for each test. */
  readonly start: () => Promise<MicaProcessOptions & AsyncDisposable>;
  /** The moments of the kills, ms after the request. */
  readonly momentsMs: readonly number[];
  /** Enough that a conversion takes some hundreds of milliseconds. */
  readonly dataBytes?: number;
  /** Where no pool takes snapshots. */
  readonly withoutSnapshots?: boolean;
  /** All moments at the same time, each with a Mica and pools of its own: where most of the time is waiting for what a killed client held. */
  readonly atOnce?: boolean;
}

/**
 * `kill -9` of the real process in the middle of an upload, of volumes by conversion and by clone, of images from a volume, of a
 * snapshot and of a volume from it, at each of the moments; after the restart the operation is finished or cleanly failed, and
 * the audit finds nothing.
 */
export function killFlows(name: string, { start, momentsMs, dataBytes = 256 * MiB, withoutSnapshots, atOnce = false }: KillFlows): void {
  describe(`on ${name}, after kill -9 and a restart`, { concurrency: atOnce }, () => {
    let folder: string;
    const files: Record<"raw" | "qcow2", string> = { raw: "", qcow2: "" };

    before(async () => {
      folder = await mkdtemp(join(tmpdir(), "mica-kill-"));
      files.raw = await makeDisk(join(folder, "disk.raw"), dataBytes);
      files.qcow2 = join(folder, "disk.qcow2");
      await run("qemu-img", ["convert", "-f", "raw", "-O", "qcow2", files.raw, files.qcow2]);
    });
    after(() => rm(folder, { recursive: true, force: true }));

    for (const afterMs of momentsMs) {
      it(`an upload that was ${afterMs} ms under way is queued again or active, and can be repeated`, async () => {
        await using place = await start();
        await using mica = await MicaProcess.start(place);
        const id = await queueImage(mica, "qcow2");
        const uploading = upload(mica, id, files.qcow2).catch(() => "cut off");
        await killAndRestart(mica, afterMs);
        await uploading;
        const { status } = await mica.until(() => image(mica, id), (found) => found.status !== "saving", SETTLE_MS);
        assert.match(status, /queued|active/);
        await assertClean(mica);
        if (status === "queued") assert.equal(await upload(mica, id, files.qcow2), 204);
        assert.equal((await image(mica, id)).status, "active");
        await assertClean(mica);
      });
    }

    for (const moments of atOnce ? momentsMs.map((ms) => [ms]) : [momentsMs]) {
      it(`volumes from an image, images from a volume, and a snapshot end whole, whenever the kill comes: after ${moments.join(", ")} ms`, async () => {
        await using place = await start();
        await using mica = await MicaProcess.start({ ...place, env: { ...place.env, ...COMPRESSING } });
        for (const afterMs of moments) {
          const format = momentsMs.indexOf(afterMs) % 2 === 0 ? "qcow2" : "raw";
          const imageId = await queueImage(mica, format); // A new one each time: the cache does not know it.
          assert.equal(await upload(mica, imageId, files[format]), 204);
          const created = await createVolumeAndKill(mica, { imageRef: imageId }, afterMs);
          await uploadVolumeAndKill(mica, created, { disk_format: format }, afterMs);
          await uploadVolumeAndKill(mica, created, { disk_format: format, container_format: "compressed" }, afterMs);
          if (!withoutSnapshots) await snapshotAndKill(mica, created, afterMs % 100);
          await removeVolume(mica, created);
          await assertClean(mica);
        }
        assert.equal(await mica.stop(), 0);
        await assertClean(mica);
      });
    }
  });
}

const COMPRESSING = { MICA_VOLUME_UPLOADS_ALLOW_COMPRESSED: "true", MICA_VOLUME_UPLOADS_COMPRESSION: "zstd" };

async function makeDisk(path: string, dataBytes: number): Promise<string> {
  await using file = await open(path, "w");
  await file.truncate(GiB);
  const block = Buffer.alloc(16 * MiB);
  for (let offset = 0; offset < dataBytes; offset += block.length) await file.write(randomFillSync(block), 0, block.length, offset * 2);
  return path;
}

async function queueImage(mica: MicaProcess, diskFormat: string): Promise<string> {
  const { id } = await mica.json("POST", "/image/v2/images", { body: { name: "disk", disk_format: diskFormat, container_format: "bare" } });
  return id;
}

async function upload(mica: MicaProcess, id: string, path: string): Promise<number> {
  const body = Readable.toWeb(createReadStream(path));
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

async function createVolumeAndKill(mica: MicaProcess, source: object, afterMs: number): Promise<string> {
  const { volume: requested } = await mica.json("POST", "/volume/v3/volumes", { body: { volume: { size: 1, ...source } } });
  await killAndRestart(mica, afterMs);
  const made = await mica.until(() => volume(mica, requested.id), ({ status }) => status !== "creating", SETTLE_MS);
  assert.equal(made.status, "available", "what was begun is finished");
  await assertClean(mica);
  return made.id;
}

async function uploadVolumeAndKill(mica: MicaProcess, volumeId: string, form: object, afterMs: number): Promise<void> {
  const action = { "os-volume_upload_image": { image_name: "captured", ...form } };
  const { "os-volume_upload_image": begun } = await mica.json("POST", `/volume/v3/volumes/${volumeId}/action`, { body: action });
  await killAndRestart(mica, afterMs);
  const found = await mica.until(() => volume(mica, volumeId), ({ status }) => status !== "uploading", SETTLE_MS);
  assert.equal(found.status, "available");
  const captured = mica.until(() => image(mica, begun.image_id), ({ status }) => status !== "saving" && status !== "queued", SETTLE_MS);
  assert.equal((await captured.catch((error: unknown) => withOperations(mica, error))).status, "active");
  await assertClean(mica);
  await mica.json("DELETE", `/image/v2/images/${begun.image_id}`);
}

/** An image that went says nothing; what became of its operation does. */
async function withOperations(mica: MicaProcess, cause: unknown): Promise<never> {
  const { operations } = await mica.json("GET", "/mica/v1/operations");
  throw new Error(JSON.stringify(operations.slice(0, 2), undefined, 1), { cause });
}

async function snapshotAndKill(mica: MicaProcess, volumeId: string, afterMs: number): Promise<void> {
  const { snapshot } = await mica.json("POST", "/volume/v3/snapshots", { body: { snapshot: { volume_id: volumeId } } });
  await killAndRestart(mica, afterMs);
  const look = async () => (await mica.json("GET", `/volume/v3/snapshots/${snapshot.id}`)).snapshot;
  const { status } = await mica.until(look, (found) => found.status !== "creating", SETTLE_MS);
  assert.equal(status, "available");
  await removeVolume(mica, await createVolumeAndKill(mica, { snapshot_id: snapshot.id }, afterMs));
}

async function removeVolume(mica: MicaProcess, id: string): Promise<void> {
  await mica.json("DELETE", `/volume/v3/volumes/${id}?cascade=true`, { status: 202 });
  const look = async () => (await (await mica.ask("GET", `/volume/v3/volumes/${id}`)).json()) as { readonly volume?: { readonly status: string } };
  const { volume: left } = await mica.until(look, ({ volume }) => volume?.status !== "deleting", SETTLE_MS);
  if (left) await withOperations(mica, new Error(`The volume is ${left.status}.`));
}
