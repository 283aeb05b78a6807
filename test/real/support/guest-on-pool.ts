import assert from "node:assert/strict";
import { it } from "node:test";
import { GiB, MINUTE_MS } from "#/lib/units.ts";
import { run } from "#/tools/run.ts";
import { guestName } from "#/vm/guest.ts";
import { CloudWithGuests } from "./cloud-with-guests.ts";
import { inGuest } from "./guest-shell.ts";

interface Place {
  /** Which has the pools `images` and `disks`, the latter for volumes and servers. */
  readonly env: Record<string, string>;
  readonly dataDir?: string;
  /** How a running guest's root disk becomes an image there. */
  readonly captureMethod: string;
  readonly strategy: string;
  /** Where QEMU itself has the guest's disks open. */
  readonly opens: RegExp;
}

/**
 * A real guest whose disks are in a pool: it boots from a root disk there, takes a volume while it runs, sees it grow, gives it back with what was written, and becomes an
 * image by the pool's own snapshot, of which another server, with a larger root disk, boots that has the first one's files.
 */
export function guestOnPool(name: string, start: () => Promise<Place>): void {
  it(`a guest has its disks in ${name}`, async () => {
    const { env, dataDir, captureMethod, strategy, opens } = await start();
    await using cloud = await CloudWithGuests.start({ ...PATIENCE, ...env }, dataDir === undefined ? {} : { dataDir });
    const { mica, hypervisor } = cloud;
    const server = await cloud.createServer({ imageRef: await cloud.addImage(), flavorRef: await flavorOfImageSize(cloud) });
    await cloud.untilServer(server, "ACTIVE");
    await cloud.untilBooted(server);
    const volumeId = await cloud.createVolume({ size: 1 });
    await cloud.compute("POST", `/servers/${server}/os-volume_attachments`, { volumeAttachment: { volumeId } });
    await cloud.untilVolume(volumeId, "in-use");
    const paths = await openPaths(cloud, server);
    for (const target of ["vda", "vdb"]) assert.match(paths.get(target) ?? "", opens, target);

    await mica.until(() => inGuest(hypervisor, server, "cat /sys/block/vdb/size").catch(String), (sectors) => Number(sectors) === GiB / 512, LIMIT_MS);
    await inGuest(hypervisor, server, "echo written by the guest | dd of=/dev/vdb conv=fsync; echo kept >/data/mine; sync");
    await mica.json("POST", `/volume/v3/volumes/${volumeId}/action`, { body: { "os-extend": { new_size: 2 } }, headers: { "openstack-api-version": "volume 3.42" } });
    const extended = await mica.until(() => cloud.volume(volumeId), ({ status }) => status !== "extending", LIMIT_MS);
    assert.deepEqual([extended.status, extended.size], ["in-use", 2], JSON.stringify(await mica.json("GET", `/mica/v1/operations?subject=${volumeId}`)));
    await mica.until(() => inGuest(hypervisor, server, "cat /sys/block/vdb/size"), (sectors) => Number(sectors) === (2 * GiB) / 512, LIMIT_MS);
    const { image_id: imageId } = await cloud.compute("POST", `/servers/${server}/action`, { createImage: { name: "captured" } });
    await cloud.untilServer(server, "ACTIVE");
    await cloud.compute("DELETE", `/servers/${server}/os-volume_attachments/${volumeId}`);
    const image = await mica.json("GET", `/image/v2/images/${imageId}`);
    assert.deepEqual([image.status, image.mica_capture_method, image.mica_consistency], ["active", captureMethod, "filesystem"]);
    const { operations } = await mica.json("GET", `/mica/v1/operations?subject=${server}`);
    assert.equal(operations.find(({ kind }: { kind: string }) => kind === "capture-server").actual.strategy, strategy);
    await cloud.untilVolume(volumeId, "available");
    await cloud.deleteServer(server);

    const again = await cloud.createServer({ imageRef: imageId });
    await cloud.untilServer(again, "ACTIVE");
    await cloud.untilBooted(again);
    await cloud.compute("POST", `/servers/${again}/os-volume_attachments`, { volumeAttachment: { volumeId } });
    await cloud.untilVolume(volumeId, "in-use");
    await mica.until(() => inGuest(hypervisor, again, "cat /data/mine; head -c 20 /dev/vdb").catch(String), (text) => text === "kept\nwritten by the guest", LIMIT_MS);
    await cloud.deleteServer(again);
    await cloud.assertAuditClean();
  });
}

/** With a root disk as large as its image. What is captured of it is small, and its hashes, which Mica takes by reading all of it, are soon there. */
async function flavorOfImageSize(cloud: CloudWithGuests): Promise<string> {
  return (await cloud.compute("POST", "/flavors", { flavor: { name: "of the image's size", ram: 256, vcpus: 1, disk: 0 } })).flavor.id;
}

/** Files and devices, by the guest's name of the disk. */
async function openPaths({ libvirt }: CloudWithGuests, server: string): Promise<Map<string, string>> {
  const { stdout } = await run("virsh", ["-q", "-c", `qemu+unix:///system?socket=${libvirt.socketPath}`, "domblklist", guestName(server)], { timeoutMs: MINUTE_MS });
  return new Map(stdout.trim().split("\n").map((line) => line.trim().split(/\s+/) as [string, string]));
}

const LIMIT_MS = 2 * MINUTE_MS;

/** In the kernel that `kernel-vm.sh` starts all of this is emulated: QEMU alone takes some 15 s to start a guest there, and twice that on a busy machine. */
const PATIENCE = { MICA_HYPERVISOR_CALL_TIMEOUT_MS: "120000", MICA_HYPERVISOR_AGENT_TIMEOUT_MS: "60000" };
