import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { mkdtemp, open, rm } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { type BlockNode, overlayNode, type RbdNode, rbdNode } from "#/domain/block-node.ts";
import { MiB } from "#/lib/units.ts";
import { createOverlay } from "#/tools/qemu-img.ts";
import { openReader } from "#/tools/qemu-nbd.ts";
import { until } from "#/vm/contract/bench.ts";
import type { GuestDisk } from "#/vm/guest.ts";
import type { LibvirtDriver } from "#/vm/libvirt/driver.ts";
import { type CephCluster, startCeph } from "./support/ceph.ts";
import { guestImage } from "./support/guest.ts";
import { inGuest } from "./support/guest-shell.ts";
import { type Libvirt, startLibvirt } from "./support/libvirt.ts";

const ROOT_BYTES = 128 * MiB;

/** QEMU in libvirt's hands is a client of Ceph, as a user of Ceph's whose key libvirt keeps. */
describe("a guest on disks in Ceph", () => {
  const id = randomUUID();
  let folder: string;
  let ceph: CephCluster;
  let libvirt: Libvirt;
  let driver: LibvirtDriver;

  before(async () => {
    folder = await mkdtemp("/tmp/mica-vm-ceph-");
    [ceph, libvirt] = await Promise.all([startCeph(), startLibvirt()]);
    driver = libvirt.open();
  });
  after(async () => {
    await driver?.[Symbol.asyncDispose]();
    await libvirt?.[Symbol.asyncDispose]();
    await ceph?.[Symbol.asyncDispose]();
    await rm(folder, { recursive: true, force: true });
  });

  it("boots from an overlay on a snapshot there", async () => {
    await ceph.rbd("import", (await guestImage()).disk, "vms/guest");
    await ceph.rbd("snap", "create", "vms/guest@snap");
    const root = join(folder, "root");
    await createOverlay({ filename: root, virtualSizeBytes: ROOT_BYTES, backingFilename: "x", backingFormat: "raw" });
    const node = overlayNode(root, { driver: "raw", file: inCeph("vms", "guest", "snap") });
    const disks: GuestDisk[] = [{ target: "vda", bus: "virtio", device: "disk", node, bootOrder: 1, cache: "writeback" }];
    const hardware = { memoryBytes: 160 * MiB, vcpuCount: 1, nics: [], guestAgent: true, rng: true };
    await driver.define({ id, title: "in Ceph", boot: { kind: "firmware", firmware: "bios" }, disks, ...hardware, consoleLogPath: join(folder, "console") });
    await driver.start(id);
    await until("it is up", async () => (await driver.stat(id))?.agentConnected === true);
    assert.equal(await inGuest(driver, id, "cat /sys/block/vda/size"), String(ROOT_BYTES / 512));
  });

  it("takes a volume from there, sees it grow, and lets go of it with its bytes in Ceph", async () => {
    await ceph.rbd("create", "--size", "8M", "volumes/volume");
    const disk: GuestDisk = { target: "vdb", bus: "virtio", device: "disk", node: { driver: "raw", file: inCeph("volumes", "volume") }, serial: "volume" };
    for (let times = 0; times < 2; times++) await driver.attachDisk(id, disk);
    const sizeInGuest = async () => Number(await inGuest(driver, id, "cat /sys/block/vdb/size || echo 0")) * 512;
    await until("the guest sees it", async () => (await sizeInGuest()) === 8 * MiB);
    await ceph.rbd("resize", "--size", "16M", "volumes/volume"); // As the pool does it; QEMU is told after.
    await driver.resizeDisk(id, "vdb", 16 * MiB);
    await until("the guest sees more", async () => (await sizeInGuest()) === 16 * MiB);
    await inGuest(driver, id, "echo written in the guest | dd of=/dev/vdb bs=512 seek=20000 conv=fsync");
    await driver.detachDisk(id, "vdb");
    const exported = join(folder, "exported");
    await ceph.rbd("export", "--no-progress", "volumes/volume", exported);
    await using file = await open(exported);
    const { buffer } = await file.read({ buffer: Buffer.alloc(20), position: 20_000 * 512 });
    assert.equal(buffer.toString(), "written in the guest");
  });

  it("has its disks viewed at one instant, while it writes on", async () => {
    await ceph.rbd("create", "--size", "8M", "volumes/viewed");
    await driver.attachDisk(id, { target: "vdb", bus: "virtio", device: "disk", node: { driver: "raw", file: inCeph("volumes", "viewed") } });
    await until("the guest sees it", async () => (await inGuest(driver, id, "cat /sys/block/vdb/size || echo 0")) === String(8 * MiB / 512));
    const write = (text: string) => inGuest(driver, id, `yes ${text} | head -c ${MiB} | dd of=/dev/vdb bs=64k iflag=fullblock conv=fsync`);
    await write("before");
    const views = await driver.beginBackup(id, { name: "views", folder: await mkdtemp(join(folder, "views-")), disks: [{ target: "vda" }, { target: "vdb" }] });
    await write("after");
    assert.deepEqual(views.map(({ sizeBytes }) => sizeBytes), [ROOT_BYTES, 8 * MiB]);
    const [root, volume] = await Promise.all(views.map(({ node }) => startOf(node)));
    assert.deepEqual(root?.subarray(510), Buffer.from([0x55, 0xaa])); // A boot sector.
    assert.equal(volume?.toString("latin1", 0, 7), "before\n");
    await driver.endBackup(id);
    await driver.detachDisk(id, "vdb");
  });

  it("takes a volume again from a libvirtd that was killed meanwhile: the key is still known", async () => {
    await libvirt.kill();
    await libvirt.restart();
    const disk: GuestDisk = { target: "vdb", bus: "virtio", device: "disk", node: { driver: "raw", file: inCeph("volumes", "volume") } };
    await driver.attachDisk(id, disk);
    await driver.destroy(id);
    await driver.start(id);
    assert.equal((await driver.stat(id))?.state, "running");
  });

  async function startOf(node: BlockNode): Promise<Buffer> {
    await using reader = await openReader(node);
    const start = Buffer.alloc(512);
    await reader.read(start, 0);
    return start;
  }

  function inCeph(pool: string, image: string, snapshot?: string): RbdNode {
    const settings = { keyring: join(ceph.folder, "ceph.client.volumes.keyring") };
    return rbdNode({ pool, image, ...(snapshot && { snapshot }), conf: ceph.confPath, user: "volumes", settings });
  }
});
