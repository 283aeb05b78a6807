/** Images of servers whose guests write all the time: by each method, all that was acknowledged before the instant is there, and the image boots. */
import assert from "node:assert/strict";
import { createWriteStream } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { after, describe, it } from "node:test";
import { MiB } from "#/lib/units.ts";
import { type MountedFileSystem, mountNew } from "../support/file-systems.ts";
import { CloudWithGuests } from "./support/cloud-with-guests.ts";
import { rootState } from "./support/guest-root.ts";
import { inGuest } from "./support/guest-shell.ts";

/** Appends numbers, each on stable storage before the next: what the file ends with was acknowledged. */
const WRITE = "setsid sh -c 'n=0; while :; do n=$((n+1)); echo $n | dd of=/data/ack.log oflag=append conv=notrunc,fsync 2>/dev/null; done' >/dev/null 2>&1 </dev/null & echo begun";
const LAST = "tail -n 1 /data/ack.log";

const METHODS = ["backup_job", "live_mirror", "cold", "pool_snapshot"] as const;

/** Overlays cannot be frozen under a guest, reflinks can. */
async function cloudFor(method: (typeof METHODS)[number]): Promise<{ cloud: CloudWithGuests; place: MountedFileSystem | undefined }> {
  const place = method === "pool_snapshot" ? await mountNew("xfs", { sizeBytes: 3 * 1024 * MiB }) : undefined;
  const env = { ...(method !== "pool_snapshot" && { MICA_SERVERS_CAPTURE_METHOD: method }), ...(place && { TMPDIR: place.path }) };
  return { cloud: await CloudWithGuests.start(env, place && { dataDir: join(place.path, "mica") }), place };
}

for (const method of METHODS) {
  describe(`an image by ${method}`, () => {
    let cloud: CloudWithGuests;
    let place: MountedFileSystem | undefined;
    let [serverId, imageId, acknowledged] = ["", "", 0];
    after(async () => {
      await cloud?.[Symbol.asyncDispose]();
      await place?.[Symbol.asyncDispose]();
    });

    it("is made while the guest writes, which then goes on", async () => {
      ({ cloud, place } = await cloudFor(method));
      serverId = await cloud.createServer({ imageRef: await cloud.addImage() });
      await cloud.untilServer(serverId, "ACTIVE");
      await cloud.untilBooted(serverId);
      await inGuest(cloud.hypervisor, serverId, WRITE);
      await cloud.mica.until(() => inGuest(cloud.hypervisor, serverId, `${LAST} || true`), (last) => Number(last) > 5);
      acknowledged = Number(await inGuest(cloud.hypervisor, serverId, LAST));
      imageId = (await cloud.compute("POST", `/servers/${serverId}/action`, { createImage: { name: "captured", metadata: { purpose: "test" } } })).image_id;
      await cloud.untilServer(serverId, "ACTIVE");
      const image = await cloud.mica.json("GET", `/image/v2/images/${imageId}`);
      assert.deepEqual([image.status, image.purpose, image.image_type, image.instance_uuid], ["active", "test", "snapshot", serverId]);
      assert.deepEqual([image.mica_capture_method, image.mica_consistency], [method, method === "cold" ? "crash" : "filesystem"]);
      assert.equal(Number(image.mica_freeze_ms) > 0, method !== "cold");
      const guest = await cloud.hypervisor.stat(serverId);
      assert.deepEqual([guest?.state, guest?.backup, guest?.mirrored], ["running", undefined, []]);
      const now = Number(await inGuest(cloud.hypervisor, serverId, LAST));
      await cloud.mica.until(() => inGuest(cloud.hypervisor, serverId, LAST), (last) => Number(last) > now);
      await cloud.assertAuditClean();
    });

    it("has a file system that is whole", async () => {
      const folder = await mkdtemp("/tmp/mica-captured-");
      try {
        const { disk_format: format } = await cloud.mica.json("GET", `/image/v2/images/${imageId}`);
        await download(cloud, imageId, join(folder, "stored"));
        const state = await rootState(join(folder, "stored"), format);
        // Frozen, it is as after an unmount; cut off, its journal has work to do.
        assert.match(state, method === "cold" ? /needs_recovery|clean/ : /clean/);
        if (method !== "cold") assert.doesNotMatch(state, /needs_recovery/);
      } finally {
        await rm(folder, { recursive: true });
      }
    });

    it("boots, with all that was acknowledged before", async () => {
      const copyId = await cloud.createServer({ imageRef: imageId });
      await cloud.untilServer(copyId, "ACTIVE");
      await cloud.untilBooted(copyId);
      const last = Number(await inGuest(cloud.hypervisor, copyId, LAST));
      assert.ok(last >= acknowledged, `${acknowledged} was acknowledged, and the image ends with ${last}`);
      assert.match(await inGuest(cloud.hypervisor, copyId, "/data/check"), /^OK/);
      await cloud.deleteServer(copyId);
      await cloud.deleteServer(serverId);
      await cloud.mica.json("DELETE", `/image/v2/images/${imageId}`);
      await cloud.assertAuditClean();
    });
  });
}

/** The image's bytes as a client gets them. */
async function download(cloud: CloudWithGuests, imageId: string, path: string): Promise<void> {
  const answer = await cloud.mica.ask("GET", `/image/v2/images/${imageId}/file`);
  assert.ok(answer.body);
  await pipeline(Readable.fromWeb(answer.body as Parameters<typeof Readable.fromWeb>[0]), createWriteStream(path));
}

describe("a volume of a guest that runs", () => {
  /** The same number at the beginning and after a MiB, one after the other. */
  const COUNT = "setsid sh -c 'n=0; while :; do n=$((n+1)); for at in 0 256; do printf %08d $n | dd of=/dev/vdb bs=4096 seek=$at conv=notrunc,fsync 2>/dev/null; done; done' >/dev/null 2>/dev/null </dev/null & echo begun";
  let cloud: CloudWithGuests;
  after(() => cloud?.[Symbol.asyncDispose]());

  it("is uploaded, and given a snapshot, as it was at one instant", async () => {
    cloud = await CloudWithGuests.start({ MICA_ENABLE_FORCE_UPLOAD: "true" });
    const { mica, hypervisor } = cloud;
    const serverId = await cloud.createServer({ imageRef: await cloud.addImage() });
    const volumeId = await cloud.createVolume({ size: 1 });
    await cloud.untilServer(serverId, "ACTIVE");
    await cloud.untilBooted(serverId);
    await cloud.compute("POST", `/servers/${serverId}/os-volume_attachments`, { volumeAttachment: { volumeId } });
    await cloud.untilVolume(volumeId, "in-use");
    await mica.until(() => inGuest(hypervisor, serverId, "ls /dev/vdb || true"), (seen) => seen !== "");
    await inGuest(hypervisor, serverId, COUNT);
    const counter = () => inGuest(hypervisor, serverId, "head -c 8 /dev/vdb");
    await mica.until(counter, (text) => Number(text) > 3);

    const upload = { "os-volume_upload_image": { image_name: "volume", force: true, disk_format: "raw" } };
    const { "os-volume_upload_image": begun } = await mica.json("POST", `/volume/v3/volumes/${volumeId}/action`, { body: upload });
    await mica.until(() => mica.json("GET", `/image/v2/images/${begun.image_id}`), ({ status }) => status === "active");
    await cloud.untilVolume(volumeId, "in-use");
    const { snapshot } = await mica.json("POST", "/volume/v3/snapshots", { body: { snapshot: { volume_id: volumeId, force: true } } });
    await mica.until(() => mica.json("GET", `/volume/v3/snapshots/${snapshot.id}`), (seen) => seen.snapshot.status === "available");
    const copyId = await cloud.createVolume({ size: 1, snapshot_id: snapshot.id });
    const { "os-volume_upload_image": again } = await mica.json("POST", `/volume/v3/volumes/${copyId}/action`, { body: upload });
    await mica.until(() => mica.json("GET", `/image/v2/images/${again.image_id}`), ({ status }) => status === "active");
    for (const id of [begun.image_id, again.image_id]) await assertOneInstant(id);
    assert.ok(Number(await counter()) > 3);
    await cloud.deleteServer(serverId);
    await cloud.assertAuditClean();
  });

  async function assertOneInstant(imageId: string): Promise<void> {
    const at = async (start: number) => Number(await (await cloud.mica.ask("GET", `/image/v2/images/${imageId}/file`, { headers: { range: `bytes=${start}-${start + 7}` } })).text());
    const [first, second] = [await at(0), await at(MiB)];
    assert.ok(first > 0 && (first === second || first === second + 1), `${first}, then ${second}`);
  }
});
