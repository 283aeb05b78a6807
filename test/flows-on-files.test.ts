/**
 * The flows from image to volume and back on real files, with real disks of every format: each way that the planner can choose here,
 * the bytes that it really moved, and the content compared.
 */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { promisify } from "node:util";
import type { VolumeSource } from "#/app/materialise.ts";
import type { DiskFormat } from "#/domain/disk.ts";
import { MiB } from "#/lib/units.ts";
import type { Actual } from "#/saga/context.ts";
import { createSnapshot } from "#/saga/create-snapshot.ts";
import { createVolume } from "#/saga/create-volume.ts";
import { deleteVolume } from "#/saga/delete-volume.ts";
import { fillCache } from "#/saga/fill-cache.ts";
import { flattenDisk } from "#/saga/flatten-disk.ts";
import { hashImage } from "#/saga/hash-image.ts";
import { uploadVolume } from "#/saga/upload-volume.ts";
import { FileDriver } from "#/storage/file/driver.ts";
import { SagaWorld, someContent } from "./support/saga-world.ts";

const run = promisify(execFile);
const SAGAS = [createVolume, createSnapshot, deleteVolume, fillCache, flattenDisk, hashImage, uploadVolume];
const SIZE_BYTES = 8 * MiB;
const content = someContent(SIZE_BYTES);
const QEMU_NAMES: Readonly<Record<string, string>> = { vhd: "vpc" };

let folder: string;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "mica-flows-"));
  await writeFile(join(folder, "disk.raw"), content);
});

after(() => rm(folder, { recursive: true, force: true }));

/** The content as an image file of the format, made by qemu-img. */
async function imageFile(format: string): Promise<Buffer> {
  const path = join(folder, `disk.${format}`);
  if (format !== "raw") await run("qemu-img", ["convert", "-f", "raw", "-O", QEMU_NAMES[format] ?? format, join(folder, "disk.raw"), path]);
  return readFile(path);
}

/** What QEMU sees in it: the geometry of a VHD rounds its size up. */
async function virtualSizeOf(format: string): Promise<number> {
  const { stdout } = await run("qemu-img", ["info", "--output=json", "-f", QEMU_NAMES[format] ?? format, join(folder, `disk.${format}`)]);
  return JSON.parse(stdout)["virtual-size"];
}

async function openWorld(): Promise<{ world: SagaWorld; directory: string }> {
  const directory = await mkdtemp(join(folder, "pool-"));
  return { world: await SagaWorld.open({ driver: await FileDriver.open(directory), sagas: SAGAS }), directory };
}

async function makeVolume(world: SagaWorld, source: VolumeSource, sizeBytes = 2 * SIZE_BYTES) {
  const plan = await world.planVolume(source, sizeBytes);
  const volumeId = await world.addVolume({ size_bytes: sizeBytes });
  const meta = { projectId: "project", userId: "user", requestId: "req-1", subject: { kind: "volume", id: volumeId }, plan };
  const ended = await world.runner.run(await world.db.transaction().execute((trx) => world.runner.begin(trx, createVolume, { volumeId }, meta)));
  assert.deepEqual([ended.state, ended.error_message], ["done", null]);
  return { volumeId, plan, actual: JSON.parse(ended.actual ?? "{}") as Actual };
}

async function makeImage(world: SagaWorld, volumeId: string, format: DiskFormat) {
  const plan = await world.planImage(volumeId, { diskFormat: format });
  const imageId = await world.addQueuedImage(format);
  await world.db.updateTable("volume").set({ status: "uploading" }).where("id", "=", volumeId).execute();
  const meta = { projectId: "project", userId: "user", requestId: "req-1", subject: { kind: "volume", id: volumeId }, plan };
  const params = { volumeId, imageId, previousStatus: "available" };
  const ended = await world.runner.run(await world.db.transaction().execute((trx) => world.runner.begin(trx, uploadVolume, params, meta)));
  assert.deepEqual([ended.state, ended.error_message], ["done", null]);
  await world.settle();
  return { imageId, plan };
}

const padded = Buffer.concat([content, Buffer.alloc(SIZE_BYTES)]);

describe("on files", () => {
  for (const format of ["qcow2", "vmdk", "vdi", "vhd", "vhdx"] as const) {
    it(`a ${format} image is converted once, then cloned from the cache`, async () => {
      const { world, directory } = await openWorld();
      await using _ = world;
      const file = await imageFile(format);
      const source = { kind: "image", id: await world.addImage(file, { format, virtualSizeBytes: await virtualSizeOf(format) }) } as const;
      const first = await makeVolume(world, source);
      assert.deepEqual([first.plan.strategy, first.actual.strategy, first.actual.bytesTemporary], ["stream_convert", "stream_convert", 0]);
      assert.ok((first.actual.bytesWritten ?? 0) >= SIZE_BYTES / 2 && (first.actual.bytesWritten ?? 0) < SIZE_BYTES, JSON.stringify(first.actual));
      const second = await makeVolume(world, source);
      assert.deepEqual([second.plan.strategy, second.actual.bytesWritten], ["clone_cached", 0]);
      for (const { volumeId } of [first, second]) assert.ok(padded.equals(await world.content(volumeId, 2 * SIZE_BYTES)));
      await world.assertAuditClean();
      assert.deepEqual((await readdir(directory)).filter((name) => name.includes("partial") || name.includes("tmp")), []);
    });
  }

  it("a raw image is cloned at once, and outlives its volumes and they it", async () => {
    const { world } = await openWorld();
    await using _ = world;
    const source = { kind: "image", id: await world.addImage(await imageFile("raw")) } as const;
    const first = await makeVolume(world, source);
    assert.equal(first.plan.strategy, "clone");
    const second = await makeVolume(world, { kind: "volume", id: first.volumeId });
    const snapshotId = await world.addSnapshot(second.volumeId);
    const meta = { projectId: "project", userId: "user", requestId: "", subject: { kind: "snapshot", id: snapshotId } };
    await world.runner.run(await world.db.transaction().execute((trx) => world.runner.begin(trx, createSnapshot, { snapshotId }, meta)));
    const third = await makeVolume(world, { kind: "snapshot", id: snapshotId });
    for (const id of [first.volumeId, second.volumeId, third.volumeId]) assert.ok(padded.equals(await world.content(id, 2 * SIZE_BYTES)));
    await world.assertAuditClean();
    const drop = { ...meta, subject: { kind: "volume", id: first.volumeId } };
    await world.runner.run(await world.db.transaction().execute((trx) => world.runner.begin(trx, deleteVolume, { volumeId: first.volumeId, cascade: true }, drop)));
    assert.ok(padded.equals(await world.content(third.volumeId, 2 * SIZE_BYTES)));
    await world.assertAuditClean();
  });

  for (const format of ["raw", "qcow2", "vmdk", "vdi", "vhd", "vhdx"] as const) {
    it(`a volume becomes a ${format} image that reads the same`, async () => {
      const { world, directory } = await openWorld();
      await using _ = world;
      const volumeId = await world.addVolume({}, content);
      const { imageId, plan } = await makeImage(world, volumeId, format);
      assert.equal(plan.strategy, format === "raw" ? (plan.passedOver.length === 0 ? "adopt" : "clone") : "stream_convert");
      const image = await world.image(imageId);
      assert.equal(image?.status, "active");
      assert.ok(image?.hash_value);
      const stored = await world.content(image?.disk_id, image?.size_bytes ?? 0);
      const path = join(directory, "..", `read-back.${format}`);
      await writeFile(path, stored);
      await run("qemu-img", ["compare", "-f", "raw", "-F", QEMU_NAMES[format] ?? format, join(folder, "disk.raw"), path]);
      assert.ok(content.equals(await world.content(volumeId, SIZE_BYTES)));
      await world.assertAuditClean();
    });
  }

  it("the estimate of an image from a clone counts what the clone reads through", async () => {
    const { world } = await openWorld();
    await using _ = world;
    const { volumeId } = await makeVolume(world, { kind: "image", id: await world.addImage(await imageFile("raw")) });
    const { bytes } = await world.planImage(volumeId, { diskFormat: "qcow2" });
    assert.ok(bytes.read >= SIZE_BYTES / 2 && bytes.read <= SIZE_BYTES, JSON.stringify(bytes));
  });

  it("a qcow2 image in a pool that no tool can read is staged, and the staging file is gone afterwards", async () => {
    const { world } = await openWorld();
    await using _ = world;
    const source = { kind: "image", id: await world.addImage(await imageFile("qcow2"), { pool: "slow", format: "qcow2", virtualSizeBytes: SIZE_BYTES }) } as const;
    const { plan, actual, volumeId } = await makeVolume(world, source);
    assert.deepEqual([plan.strategy, actual.strategy], ["staged_convert", "staged_convert"]);
    assert.ok((actual.bytesTemporary ?? 0) >= SIZE_BYTES / 2, JSON.stringify(actual));
    assert.ok(padded.equals(await world.content(volumeId, 2 * SIZE_BYTES)));
    assert.deepEqual(await readdir(world.services.limits.staging.dir), []);
    await world.assertAuditClean();
  });
});
