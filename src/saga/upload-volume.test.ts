import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { it } from "node:test";
import { gunzipSync, zstdDecompressSync } from "node:zlib";
import { getDisk } from "#/db/disks.ts";
import { addQuotaUsage } from "#/db/quota-usage.ts";
import { fileNode } from "#/domain/block-node.ts";
import type { ImageForm } from "#/domain/compression.ts";
import { AppError } from "#/domain/errors.ts";
import { diskId, poolName } from "#/domain/ids.ts";
import { giveBack, volumeQuota } from "#/domain/quota.ts";
import { MiB } from "#/lib/units.ts";
import { MemoryJournal, sagaContract } from "#/saga/engine/contract.ts";
import { runSaga } from "#/saga/engine/saga.ts";
import { dropDisk } from "#/saga/drop-disk.ts";
import { flattenDisk } from "#/saga/flatten-disk.ts";
import { freezeDisk } from "#/saga/freeze-disk.ts";
import { hashImage } from "#/saga/hash-image.ts";
import { releaseDisk } from "#/saga/release-disk.ts";
import { uploadVolume } from "#/saga/upload-volume.ts";
import * as qemuImg from "#/tools/qemu-img.ts";
import { PROJECT, SagaWorld, TYPE, type SagaWorldOptions, someContent } from "../../test/support/saga-world.ts";

const content = someContent();
/** What the volume stands on in the flows that say so. */
const FROZEN = "7e0f7a7b-6f7c-4a86-8a3d-9e5d0f0f0a01";

interface Flow {
  readonly name: string;
  readonly strategy: string;
  readonly options: SagaWorldOptions;
  readonly form?: ImageForm;
  readonly store?: string;
  /** The volume reads through another disk. */
  readonly isOverlay?: boolean;
  /** A server has it that does not run, and may be started meanwhile. */
  readonly isInUse?: boolean;
}

const FLOWS: readonly Flow[] = [
  { name: "adopting its bytes", strategy: "adopt", options: { clone: "dependent" } },
  { name: "an independent clone", strategy: "clone", options: { clone: "independent" } },
  { name: "a dependent clone of what already reads through another disk", strategy: "clone", options: { clone: "dependent" }, isOverlay: true },
  { name: "a dependent clone in another pool of the same place", strategy: "clone", options: { clone: "dependent" }, store: "near" },
  { name: "an independent clone in another pool of the same place", strategy: "clone", options: { clone: "independent" }, store: "near" },
  { name: "a copy by the storage", strategy: "offload_copy", options: { clone: "dependent", cloneDepthMax: 0 } },
  { name: "a copy by the storage of what a server has", strategy: "offload_copy", options: { clone: "dependent", cloneDepthMax: 0 }, isInUse: true },
  { name: "a copy into a pool elsewhere of what a server has", strategy: "stream_convert", options: { clone: "independent" }, store: "slow", isInUse: true },
  { name: "a copy into a pool elsewhere", strategy: "stream_convert", options: {}, store: "slow" },
  { name: "a stream that is compressed", strategy: "stream_convert", options: {}, form: { diskFormat: "raw", stream: "zstd" } },
  { name: "a qcow2 in a compressed stream, staged", strategy: "staged_convert", options: {}, form: { diskFormat: "qcow2", stream: "gzip" } },
];

async function uploading({ options, form = { diskFormat: "raw" }, store, isOverlay = false, isInUse = false }: Omit<Flow, "name" | "strategy">) {
  const world = await SagaWorld.open({ ...options, sagas: [dropDisk, hashImage, flattenDisk] });
  const volumeId = await world.addVolume({}, content);
  if (isOverlay) await freezeDisk(world.services, diskId(volumeId), diskId(FROZEN), { kind: "ancestor", id: FROZEN });
  const previousStatus = isInUse ? "in-use" : "available";
  await world.db.updateTable("volume").set({ status: previousStatus }).where("id", "=", volumeId).execute();
  const plan = await world.planImage(volumeId, form, store);
  await world.db.updateTable("volume").set({ status: "uploading" }).where("id", "=", volumeId).execute();
  const imageId = await world.addQueuedImage();
  return { world, volumeId, imageId, plan, context: world.context({ volumeId, imageId, previousStatus }, plan) };
}

for (const flow of FLOWS) {
  sagaContract(`uploadVolume by ${flow.name}`, uploadVolume, async () => {
    const { world, volumeId, imageId, plan, context } = await uploading(flow);
    assert.equal(plan.strategy, flow.strategy);
    const volumeIsWhole = async () => {
      assert.equal((await world.volume(volumeId))?.status, "available");
      assert.deepEqual(await world.content(volumeId, MiB), content);
      await world.assertAuditClean();
    };
    return {
      context,
      async assertDone() {
        await world.settle();
        const image = await world.image(imageId);
        assert.deepEqual([image?.status, image?.virtual_size_bytes], ["active", MiB]);
        const stored = await world.content(image?.disk_id, image?.size_bytes ?? 0);
        assert.equal(image?.hash_value, createHash("sha512").update(stored).digest("hex"));
        assert.deepEqual(await guestOf(stored, flow.form), content);
        const disk = await getDisk(world.db, diskId(image?.disk_id ?? ""));
        assert.equal(disk.parent, undefined, "the image stands alone");
        assert.deepEqual([disk.packed, disk.format], flow.form?.stream ? [flow.form.diskFormat, "opaque"] : [undefined, "raw"]);
        await volumeIsWhole();
      },
      async assertClean() {
        assert.equal(await world.image(imageId), undefined);
        await volumeIsWhole();
      },
      isShown: async () => (await world.image(imageId))?.status === "active",
      [Symbol.asyncDispose]: () => world[Symbol.asyncDispose](),
    };
  });
}

/** What a guest sees of what is stored. */
async function guestOf(stored: Buffer, { diskFormat, stream }: ImageForm = { diskFormat: "raw" }): Promise<Buffer> {
  if (!stream) return stored;
  const disk = stream === "gzip" ? gunzipSync(stored) : zstdDecompressSync(stored);
  if (diskFormat === "raw") return disk;
  const folder = await mkdtemp(join(tmpdir(), "mica-upload-"));
  const [packed, raw] = [join(folder, "packed"), join(folder, "raw")];
  try {
    await writeFile(packed, disk);
    await writeFile(raw, Buffer.alloc(MiB));
    await qemuImg.convert(fileNode(packed, diskFormat), fileNode(raw, "raw"));
    return await readFile(raw);
  } finally {
    await rm(folder, { recursive: true });
  }
}

it("an image that is a dependent clone can be read at once, also when the volume is deleted before it stands alone", async () => {
  const { world, volumeId, imageId, context } = await uploading({ options: { clone: "dependent" }, isOverlay: true });
  await using _ = world;
  const run = world.runner.run.bind(world.runner);
  world.runner.run = () => new Promise(() => {}); // What is begun in the background comes later.
  assert.equal((await runSaga(uploadVolume, context, new MemoryJournal())).ended, "done");
  const image = await world.image(imageId);
  assert.deepEqual([image?.status, image?.hash_value], ["active", null]);
  assert.ok((await getDisk(world.db, diskId(imageId))).parent, "it reads through what it shares with the volume");
  await world.db.updateTable("volume").set({ disk_id: null }).where("id", "=", volumeId).execute();
  await releaseDisk(world.services, diskId(volumeId));
  await world.db.deleteFrom("volume").where("id", "=", volumeId).execute();
  await addQuotaUsage(world.db, PROJECT, giveBack(volumeQuota(MiB, TYPE.name)));
  assert.deepEqual(await world.content(imageId, MiB), content);
  world.runner.run = run;
  await world.settle();
  assert.deepEqual(await world.content(imageId, MiB), content);
  const left = await world.db.selectFrom("disk").select("id").execute();
  assert.deepEqual(left.map(({ id }) => id), [imageId], "nothing is left of what the volume stood on");
  await world.assertAuditClean();
});

it("uploadVolume takes the next way where a clone cannot be made", async () => {
  const { world, imageId, context } = await uploading({ options: { clone: "dependent" }, isOverlay: true });
  await using _ = world;
  const pool = world.services.pools.get(poolName("fast"));
  pool.clone = async () => {
    throw new AppError("not_supported", "the storage forgot how");
  };
  assert.equal((await runSaga(uploadVolume, context, new MemoryJournal())).ended, "done");
  assert.equal(context.actual.strategy, "stream_convert");
  assert.match(context.actual.fellBack?.[0]?.because ?? "", /forgot how/);
  await world.settle();
  assert.deepEqual(await world.content(imageId, MiB), content);
  await world.assertAuditClean();
});

it("uploadVolume reads what a server has as it was at one instant, whatever way it takes, and leaves nothing of that", async () => {
  for (const [clone, disks] of [["dependent", 4], ["independent", 2]] as const) {
    const { world, volumeId, imageId, plan, context: planned } = await uploading({ options: { clone }, isInUse: true, isOverlay: clone === "dependent" });
    await using _ = world;
    assert.equal(plan.strategy, "clone");
    const context = world.context(planned.params, { ...plan, fallbacks: ["offload_copy"] });
    const pool = world.services.pools.get(poolName("fast"));
    const read: string[] = [];
    const copy = pool.copy.bind(pool);
    pool.copy = (source, ...rest) => {
      read.push(source.id);
      return copy(source, ...rest);
    };
    pool.clone = async () => {
      throw new AppError("not_supported", "the storage forgot how");
    };
    assert.equal((await runSaga(uploadVolume, context, new MemoryJournal())).ended, "done");
    assert.deepEqual(read, [context.operationId]);
    await world.settle();
    for (const id of [volumeId, imageId]) assert.deepEqual(await world.content(id, MiB), content);
    assert.equal((await world.db.selectFrom("disk").select("id").execute()).length, disks); // An overlay stays on what was frozen, and that on what there was.
    await world.assertAuditClean();
  }
});

it("uploadVolume freezes nothing of a volume that it has to itself", async () => {
  const { world, volumeId, imageId, context } = await uploading({ options: {}, store: "slow" });
  await using _ = world;
  world.services.pools.get(poolName("fast")).snapshot = async () => assert.fail("it was frozen");
  assert.equal((await runSaga(uploadVolume, context, new MemoryJournal())).ended, "done");
  for (const id of [volumeId, imageId]) assert.deepEqual(await world.content(id, MiB), content);
});

it("uploadVolume leaves the volume as it was when the image is deleted meanwhile", async () => {
  const { world, volumeId, imageId, context } = await uploading({ options: { clone: "dependent" } });
  await using _ = world;
  const saga = { ...uploadVolume, steps: uploadVolume.steps.map((step) => ({ ...step })) };
  const publish = saga.steps.find(({ name }) => name === "publish");
  assert.ok(publish);
  const run = publish.run;
  publish.run = async (...args) => {
    await world.db.deleteFrom("image").where("id", "=", imageId).execute();
    await run(...args);
  };
  const outcome = await runSaga(saga, context, new MemoryJournal());
  assert.equal(outcome.ended, "undone");
  assert.equal((await world.volume(volumeId))?.status, "available");
  assert.deepEqual(await world.content(volumeId, MiB), content);
  await world.assertAuditClean();
});

it("uploadVolume() does not read through the volume where that is flattened as soon as it is frozen", async () => {
  const { world, volumeId, imageId, context } = await uploading({ options: { clone: "dependent" }, isOverlay: true });
  await using _ = world;
  const flatten = { name: "flatten", run: async () => void (await runSaga(flattenDisk, world.context({ diskId: volumeId }), new MemoryJournal())) };
  const steps = uploadVolume.steps.flatMap((step) => (step.name === "freeze" ? [step, flatten] : [step]));
  await runSaga({ ...uploadVolume, steps }, context, new MemoryJournal());
  assert.notEqual((await getDisk(world.db, diskId(imageId))).parent, diskId(volumeId));
  assert.deepEqual(await world.content(imageId, MiB), content);
  await world.assertAuditClean();
});
