/** Volumes in a pool of another host: guests here reach them over NBD with TLS, from that host's worker, which may die meanwhile. */
import assert from "node:assert/strict";
import { cp, open, readdir } from "node:fs/promises";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { GiB, KiB } from "#/lib/units.ts";
import { mountNew } from "../support/file-systems.ts";
import { WorkerProcess } from "../support/worker-process.ts";
import { CloudWithGuests } from "./support/cloud-with-guests.ts";
import { inGuest } from "./support/guest-shell.ts";

/** The other host is another address of this one, with its own file system and processes. */
const FAR_HOST = "127.0.0.2";

await using stack = new AsyncDisposableStack();
const place = stack.use(await mountNew("xfs", { sizeBytes: 4 * GiB }));
const farPool = { name: "fast", driver: "file", path: join(place.path, "fast"), roles: ["volumes", "images"] };
const far = stack.use(await WorkerProcess.start({ pools: [farPool], host: FAR_HOST }));
const pools = [
  { name: "near", driver: "file", path: join(place.path, "near"), roles: ["images", "servers", "cache"], overSubscriptionRatioMax: 1000 },
  { name: "far", driver: "worker", worker: { url: far.url, pool: "fast", tlsDir: far.tlsDir }, roles: ["volumes", "cache"], overSubscriptionRatioMax: 1000 },
];
const cloud = stack.use(await CloudWithGuests.start({ MICA_POOLS: JSON.stringify(pools), MICA_ENABLE_FORCE_UPLOAD: "true" }));
await cp(far.tlsDir, join(cloud.libvirt.folder, "tls"), { recursive: true });
const kept = stack.move();
after(() => kept.disposeAsync());
const { mica, hypervisor } = cloud;
const imageId = await cloud.addImage();

const DISK = "for i in $(seq 100); do [ -b /dev/vdb ] && break; sleep 0.1; done";

/** Blocks of 64 KiB that each begin with their number, each on stable storage before the next one is written. */
const WRITE_BLOCKS = `setsid sh -c '
  for n in $(seq 1 60); do
    { printf "%08d" $n; head -c 65528 /data/noise; } >/tmp/block
    dd if=/tmp/block of=/dev/vdb bs=64k seek=$n conv=notrunc,fsync 2>/dev/null || echo $n >>/tmp/failed
    echo $n >/tmp/written
  done; touch /tmp/done' >/dev/null 2>&1 </dev/null & echo begun`;

/** What the far host itself has of the volume. */
async function inFarPool(offset: number, count: number): Promise<string> {
  const [name = ""] = (await readdir(farPool.path)).filter((file) => file.includes(volumeDisk));
  await using file = await open(join(farPool.path, name));
  return (await file.read(Buffer.alloc(count), 0, count, offset)).buffer.toString();
}
let volumeDisk = "";

async function diskOf(volumeId: string): Promise<string> {
  const { volume } = await mica.json("GET", `/volume/v3/volumes/${volumeId}`);
  assert.equal(volume["os-vol-host-attr:host"]?.split("#")[1], "far");
  const names = (await readdir(farPool.path)).filter((file) => /^[0-9a-f-]{36}/.test(file));
  return names.map((name) => name.slice(0, 36)).at(-1) ?? "";
}

const attach = async (id: string, volumeId: string) => {
  await cloud.compute("POST", `/servers/${id}/os-volume_attachments`, { volumeAttachment: { volumeId } });
  await cloud.untilVolume(volumeId, "in-use");
};
const detach = async (id: string, volumeId: string) => {
  await cloud.compute("DELETE", `/servers/${id}/os-volume_attachments/${volumeId}`);
  await cloud.untilVolume(volumeId, "available");
};

/** Makes an image of a volume, and gives a part of its bytes. */
async function uploaded(volumeId: string, offset: number, count: number): Promise<string> {
  const body = { "os-volume_upload_image": { image_name: "taken", disk_format: "raw", container_format: "bare", force: true } };
  const { image_id: id } = (await mica.json("POST", `/volume/v3/volumes/${volumeId}/action`, { body, status: 202 }))["os-volume_upload_image"];
  await mica.until(() => mica.json("GET", `/image/v2/images/${id}`), ({ status }) => status === "active");
  const range = await mica.ask("GET", `/image/v2/images/${id}/file`, { headers: { range: `bytes=${offset}-${offset + count - 1}` } });
  return range.text();
}

describe("a guest with a volume of a pool on another host", () => {
  let [serverId, volumeId] = ["", ""];

  it("gets it while it runs, writes to it, and gives it back: the bytes are there, through Mica and at the far host", async () => {
    serverId = await cloud.createServer({ imageRef: imageId });
    volumeId = await cloud.createVolume({ size: 1 });
    volumeDisk = await diskOf(volumeId);
    await cloud.untilServer(serverId, "ACTIVE");
    await cloud.untilBooted(serverId);
    await attach(serverId, volumeId);
    await inGuest(hypervisor, serverId, `${DISK}; echo written over TLS | dd of=/dev/vdb conv=notrunc,fsync`);
    await detach(serverId, volumeId);
    assert.equal(await inFarPool(0, 16), "written over TLS");
    assert.equal(await uploaded(volumeId, 0, 16), "written over TLS");
    await cloud.assertAuditClean();
  });

  it("goes on without an error when the worker is killed in the middle of its writes, and back: nothing is lost", async () => {
    await attach(serverId, volumeId);
    await inGuest(hypervisor, serverId, `${DISK}; head -c 65536 /dev/urandom >/data/noise; ${WRITE_BLOCKS}`);
    const written = async () => Number(await inGuest(hypervisor, serverId, "cat /tmp/written 2>/dev/null || echo 0"));
    await mica.until(written, (count) => count >= 5);
    await far.kill();
    await delay(1000);
    await far.start();
    // Its agent does not answer while it stands still.
    await mica.until(() => inGuest(hypervisor, serverId, "cat /tmp/written; ls /tmp/done 2>/dev/null || true").catch(() => ""), (said) => said.includes("/tmp/done"));
    assert.equal(await inGuest(hypervisor, serverId, "cat /tmp/failed 2>/dev/null || echo none"), "none");
    await cloud.untilServer(serverId, "ACTIVE");
    for (const n of [1, 30, 60]) assert.equal(await inFarPool(n * 64 * KiB, 8), String(n).padStart(8, "0"));
    const sum = "dd if=/dev/vdb bs=64k skip=1 count=60 2>/dev/null | md5sum";
    assert.equal(await inGuest(hypervisor, serverId, `echo 3 >/proc/sys/vm/drop_caches; ${sum}`), await inGuest(hypervisor, serverId, sumOfAll()));
    const extend = { body: { "os-extend": { new_size: 2 } }, headers: { "openstack-api-version": "volume 3.42" }, status: 400 };
    const { badRequest } = await mica.json("POST", `/volume/v3/volumes/${volumeId}/action`, extend);
    assert.match(badRequest.message, /in pool "far" such volumes cannot be extended: .*Detach it first/);
    await cloud.assertAuditClean();
  });

  it("has it captured while it has it open: a snapshot, and an image", async () => {
    const { snapshot } = await mica.json("POST", "/volume/v3/snapshots", { body: { snapshot: { volume_id: volumeId, force: true } } });
    await mica.until(async () => (await mica.json("GET", `/volume/v3/snapshots/${snapshot.id}`)).snapshot, ({ status }) => status === "available");
    assert.equal(await uploaded(volumeId, 64 * KiB, 8), "00000001");
    await mica.json("DELETE", `/volume/v3/snapshots/${snapshot.id}`, { status: 202 });
    await mica.until(async () => (await mica.ask("GET", `/volume/v3/snapshots/${snapshot.id}`)).status, (status) => status === 404);
    await cloud.assertAuditClean();
  });

  it("is moved to another one while it runs", async () => {
    const next = await cloud.createVolume({ size: 1 });
    await cloud.compute("PUT", `/servers/${serverId}/os-volume_attachments/${volumeId}`, { volumeAttachment: { volumeId: next } }, 202);
    await cloud.untilVolume(next, "in-use");
    await cloud.untilVolume(volumeId, "available");
    assert.equal(await inGuest(hypervisor, serverId, "echo 3 >/proc/sys/vm/drop_caches; head -c 16 /dev/vdb"), "written over TLS");
    await detach(serverId, next);
    await cloud.deleteServer(serverId);
    for (const id of [next, volumeId]) await mica.json("DELETE", `/volume/v3/volumes/${id}`, { status: 202 });
    await cloud.assertAuditClean();
  });
});

/** The same bytes as the guest has written them. */
const sumOfAll = () => 'for n in $(seq 1 60); do printf "%08d" $n; head -c 65528 /data/noise; done | md5sum';

describe("a guest that boots from a volume of a pool on another host", () => {
  it("is made of an image in one call, boots, and becomes an image", async () => {
    const root = { boot_index: 0, uuid: imageId, source_type: "image", destination_type: "volume", volume_size: 1, delete_on_termination: true };
    const id = await cloud.createServer({ imageRef: "", block_device_mapping_v2: [root] });
    const server = await cloud.untilServer(id, "ACTIVE");
    const [{ id: volumeId }] = server["os-extended-volumes:volumes_attached"];
    await cloud.untilBooted(id);
    assert.match(await uploaded(volumeId, 510, 2), /^U/); // The end of a boot sector: 55 aa.
    await cloud.deleteServer(id);
    await mica.until(async () => (await mica.ask("GET", `/volume/v3/volumes/${volumeId}`)).status, (status) => status === 404);
    await cloud.assertAuditClean();
  });
});
