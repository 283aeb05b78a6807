import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { ImageLocations } from "#/app/image-locations.ts";
import { Images } from "#/app/images.ts";
import { VolumeUploads } from "#/app/volume-uploads.ts";
import { loadImage } from "#/db/images.ts";
import { quotaUsage } from "#/db/quota-usage.ts";
import type { Caller } from "#/domain/caller.ts";
import { operationId, projectId, userId } from "#/domain/ids.ts";
import { GiB } from "#/lib/units.ts";
import { TestWorld } from "./test-world.ts";

/** Images that stay volumes: `image_upload_use_cinder_backend`, `image_upload_use_internal_tenant`, and locations `cinder://`. */

const INTERNAL = { internalTenantProjectId: "internal-project", internalTenantUserId: "internal-user" };
const UNLIMITED = { volumes: -1, snapshots: -1, gigabytes: -1, perVolumeGigabytes: -1 };
const inPlace = { imageUploadUseCinderBackend: true };

async function upload(world: TestWorld, volumeId: string, fields: object = {}): Promise<string> {
  const body = { "os-volume_upload_image": { image_name: "image", ...fields } };
  const answer = await world.expect(202, "POST", `/volumes/${volumeId}/action`, { body });
  await settle(world);
  return answer["os-volume_upload_image"].image_id;
}

/** Waits for the uploads, and ends the hashing of a GiB that follows in the background. */
async function settle(world: TestWorld): Promise<void> {
  const { db, runner } = world.context;
  const open = () => db.selectFrom("operation").select(["id", "saga"]).where("ended_at", "is", null).execute();
  await Promise.all((await open()).filter(({ saga }) => saga === "upload-volume").map(({ id }) => runner.run(operationId(id))));
  await Promise.all((await open()).filter(({ saga }) => saga === "hash-image").map(({ id }) => runner.cancel(operationId(id))));
  await world.settle();
}

async function imageAndDisk(world: TestWorld, id: string) {
  const { db } = world.context;
  const image = await db.selectFrom("image").selectAll().where("id", "=", id).executeTakeFirst();
  const disk = await db.selectFrom("disk").selectAll().where("id", "=", image?.disk_id ?? "").executeTakeFirst();
  return { image, disk };
}

const usedBy = async (world: TestWorld, projectId: string) => {
  const used = await quotaUsage(world.context.db, projectId);
  return [used.get("volumes") ?? 0, used.get("gigabytes") ?? 0];
};

function callerOf(world: TestWorld): Caller {
  const roles = new Set(["reader", "member"]);
  return { userId: userId("user"), userName: "alice", projectId: projectId(world.alice.projectId), roles, requestId: "req-1", isService: true };
}

describe("image_upload_use_cinder_backend", () => {
  it("keeps a raw, bare image in the volume's pool without moving a byte, as a volume of its project", async () => {
    await using world = await TestWorld.open({}, { store: "store", limits: inPlace });
    const id = await world.makeVolume();
    const imageId = await upload(world, id);
    const { image, disk } = await imageAndDisk(world, imageId);
    assert.deepEqual([image?.status, image?.size_bytes, disk?.pool], ["active", GiB, "local"]);
    const { actual } = await world.context.db.selectFrom("operation").select("actual").where("saga", "=", "upload-volume").executeTakeFirstOrThrow();
    assert.equal(JSON.parse(actual ?? "{}").bytesThroughUs, 0);
    assert.deepEqual(await usedBy(world, world.alice.projectId), [2, 2]);
    const service = { ...callerOf(world), isService: true };
    const locations = await new ImageLocations(world.context, new VolumeUploads(world.context)).list(service, imageId);
    assert.deepEqual(locations, [{ url: `cinder://local/${imageId}`, metadata: { store: "local" } }]);

    const clone = await world.makeVolume({ imageRef: imageId });
    const { plan } = await world.context.db.selectFrom("operation").select("plan").where("subject_id", "=", clone).executeTakeFirstOrThrow();
    assert.equal(JSON.parse(plan ?? "{}").strategy, "clone");
    await world.assertAuditClean();
  });

  it("lets the volume be deleted under the image, and gives the quota back with the image", async () => {
    await using world = await TestWorld.open({}, { store: "store", limits: inPlace });
    const id = await world.makeVolume();
    const imageId = await upload(world, id);
    await world.expect(202, "DELETE", `/volumes/${id}`);
    await world.settle();
    assert.equal((await imageAndDisk(world, imageId)).disk?.state, "ready");
    assert.deepEqual(await usedBy(world, world.alice.projectId), [1, 1]);
    await new Images(world.context).delete(callerOf(world), imageId);
    await world.settle();
    assert.deepEqual(await usedBy(world, world.alice.projectId), [0, 0]);
    assert.deepEqual(await world.context.db.selectFrom("disk").select("id").execute(), []);
    await world.assertAuditClean();
  });

  it("goes to the images' store in every other format, and compressed", async () => {
    const volumeUploads = { compressClusters: true, clusterCompression: "zlib", vmdkSubformat: "streamOptimized", allowCompressed: true, compression: "zstd" } as const;
    await using world = await TestWorld.open({ volumeUploads }, { store: "store", limits: inPlace });
    const id = await world.makeVolume();
    for (const fields of [{ disk_format: "qcow2" }, { disk_format: "raw", container_format: "compressed" }]) {
      assert.equal((await imageAndDisk(world, await upload(world, id, fields))).disk?.pool, "store");
    }
    assert.deepEqual(await usedBy(world, world.alice.projectId), [1, 1]);
    await world.assertAuditClean();
  });

  it("goes to the images' store where the quota has no room for another volume", async () => {
    await using world = await TestWorld.open({ quotas: { ...UNLIMITED, volumes: 1 } }, { store: "store", limits: inPlace });
    const id = await world.makeVolume();
    const { image, disk } = await imageAndDisk(world, await upload(world, id));
    assert.deepEqual([image?.status, disk?.pool], ["active", "store"]);
    assert.deepEqual(await usedBy(world, world.alice.projectId), [1, 1]);
    await world.assertAuditClean();
  });

  it("is the internal project's volume where the pool says so", async () => {
    const limits = { ...inPlace, imageUploadUseInternalTenant: true };
    await using world = await TestWorld.open({ ...INTERNAL, quotas: { ...UNLIMITED, volumes: 1 } }, { store: "store", limits });
    const id = await world.makeVolume();
    const { image, disk } = await imageAndDisk(world, await upload(world, id));
    assert.deepEqual([image?.owner, disk?.pool], [world.alice.projectId, "local"]);
    assert.deepEqual(await usedBy(world, world.alice.projectId), [1, 1]);
    assert.deepEqual(await usedBy(world, INTERNAL.internalTenantProjectId), [1, 1]);
    const { user_id } = await world.context.db.selectFrom("image_volume").selectAll().executeTakeFirstOrThrow();
    assert.equal(user_id, INTERNAL.internalTenantUserId);
    assert.match(await world.refusal(413, "POST", "/volumes", { body: { volume: { size: 1 } } }), /volumes allowed/);
    await world.assertAuditClean();
  });

  it("leaves nothing, and gives the quota back, where it fails", async () => {
    await using world = await TestWorld.open({}, { store: "store", limits: inPlace });
    const id = await world.makeVolume();
    world.faults.broken = true;
    const imageId = await upload(world, id);
    world.faults.broken = false;
    assert.equal((await imageAndDisk(world, imageId)).image, undefined);
    assert.equal(await world.status(id), "available");
    assert.deepEqual(await usedBy(world, world.alice.projectId), [1, 1]);
    await world.assertAuditClean();
  });
});

describe("an image type's own store", () => {
  it("takes the image where the volume type names it, and only a store that takes images", async () => {
    await using world = await TestWorld.open({}, { store: "store" });
    for (const [type, store, status] of [["right", "store", 202], ["wrong", "local", 404]] as const) {
      const extra_specs = { "image_service:store_id": store };
      await world.expect(200, "POST", "/types", { as: world.admin, body: { volume_type: { name: type, extra_specs } } });
      const id = await world.makeVolume({ volume_type: type });
      const answer = await world.ask("POST", `/volumes/${id}/action`, { body: { "os-volume_upload_image": { image_name: "i", disk_format: "qcow2" } } });
      assert.equal(answer.statusCode, status, answer.body);
      await settle(world);
      assert.equal(await world.status(id), "available");
    }
  });
});

describe("a location cinder://", () => {
  const allowed = { allowedDirectUrlSchemes: ["cinder"] as ["cinder"] };

  async function queued(world: TestWorld, changes: object = {}): Promise<string> {
    const { id } = await new Images(world.context).create(callerOf(world), { fields: { diskFormat: "raw", containerFormat: "bare", ...changes }, properties: {} });
    return id;
  }

  async function locate(world: TestWorld, imageId: string, url: string): Promise<void> {
    const image = await loadImage(world.context.db, imageId);
    assert.ok(image);
    await new VolumeUploads(world.context).fromLocation(callerOf(world), image, url);
    await settle(world);
  }

  it("makes an image of the volume that it names, which may go afterwards", async () => {
    await using world = await TestWorld.open(allowed, { store: "store" });
    const id = await world.makeVolume();
    const [plain, stored] = [await queued(world), await queued(world)];
    await locate(world, plain, `cinder://${id}`);
    await locate(world, stored, `cinder://store/${id}`);
    for (const imageId of [plain, stored]) {
      const { image, disk } = await imageAndDisk(world, imageId);
      assert.deepEqual([image?.status, image?.virtual_size_bytes, disk?.pool], ["active", GiB, "local"]);
    }
    await world.expect(202, "DELETE", `/volumes/${id}`);
    await world.settle();
    await world.makeVolume({ imageRef: plain });
    await world.assertAuditClean();
  });

  it("is refused unless it is allowed, names an own volume, and the image is raw, bare and empty", async () => {
    for (const [config, changes, path, message] of [
      [{}, {}, "", /not among the configured "allowedDirectUrlSchemes"/],
      [allowed, {}, "/../x", /names no volume/],
      [allowed, { diskFormat: "qcow2" }, "", /Only a raw, bare image/],
      [allowed, { containerFormat: "compressed" }, "", /Only a raw, bare image/],
      [allowed, { owner: "another" }, "", /could not be found/],
    ] as const) {
      await using world = await TestWorld.open(config as object, { store: "store" });
      const id = await world.makeVolume();
      const imageId = await world.makeImage({ status: "queued", diskId: null, ...changes });
      await world.context.db.deleteFrom("disk").where("id", "=", imageId).execute();
      await assert.rejects(locate(world, imageId, `cinder://${id}${path}`), message);
      assert.equal((await imageAndDisk(world, imageId)).image?.status, "queued");
      assert.equal(await world.status(id), "available");
    }
  });

  it("leaves the image queued where it fails", async () => {
    await using world = await TestWorld.open(allowed, { store: "store" });
    const id = await world.makeVolume();
    const imageId = await queued(world);
    world.faults.broken = true;
    await locate(world, imageId, `cinder://${id}`);
    world.faults.broken = false;
    const { image } = await imageAndDisk(world, imageId);
    assert.deepEqual([image?.status, image?.disk_id], ["queued", null]);
    assert.deepEqual(await usedBy(world, world.alice.projectId), [1, 1]);
    await world.assertAuditClean();
  });
});
