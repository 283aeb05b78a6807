import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { copyFile, mkdir, mkdtemp, rm, stat, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import type { BlockNode } from "#/domain/block-node.ts";
import { CONFIG_DRIVE_LABEL, configDriveFiles } from "#/domain/config-drive.ts";
import { MiB, SECOND_MS } from "#/lib/units.ts";
import { makeIso } from "#/tools/genisoimage.ts";
import { jsonFilename } from "#/tools/qemu-img.ts";
import { run } from "#/tools/run.ts";
import { EventLog, until } from "#/vm/contract/bench.ts";
import type { GuestDisk, GuestSpec } from "#/vm/guest.ts";
import type { LibvirtDriver } from "#/vm/libvirt/driver.ts";
import { guestImage } from "./support/guest.ts";
import { inGuest } from "./support/guest-shell.ts";
import { type Libvirt, startLibvirt } from "./support/libvirt.ts";

const KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0 someone@somewhere";

/** One guest with hardware of every kind, looked at from inside. */
describe("a guest's hardware, as libvirt and QEMU make it", () => {
  const id = randomUUID();
  let folder: string;
  let small: string;
  let libvirt: Libvirt;
  let driver: LibvirtDriver;

  before(async () => {
    folder = await mkdtemp("/tmp/mica-vm-hardware-");
    small = join(folder, "small");
    await mkdir(small);
    await mount("-t", "tmpfs", "-o", "size=1m", "tmpfs", small);
    libvirt = await startLibvirt();
    driver = libvirt.open();
    await driver.define(await specOfEverything(id, folder));
    await driver.start(id);
    const inTime = async () => (await driver.stat(id))?.agentConnected === true && (await driver.consoleTail(id, 10_000)).includes("GUEST-CONFIG");
    await until("the guest is up", inTime);
  });
  after(async () => {
    await driver?.[Symbol.asyncDispose]();
    await libvirt?.[Symbol.asyncDispose]();
    await run("umount", [small], { timeoutMs: 10 * SECOND_MS });
    await rm(folder, { recursive: true, force: true });
  });

  it("a kernel outside of the disk boots a root file system that is not partitioned", async () => {
    assert.match(await driver.consoleTail(id, 10_000), /GUEST-READY boot=1 .* root=\/dev\/vda disk=50331648 /);
    assert.match(await inGuest(driver, id, "cat /proc/cmdline"), /root=\/dev\/vda mica=<"&'>$/);
  });

  it("a config drive on an optical drive tells the guest who it is", async () => {
    const console = await driver.consoleTail(id, 10_000);
    assert.ok(console.includes(`GUEST-CONFIG hostname=web.example uuid=${id} key=${KEY}`), console);
    assert.match(console, /GUEST-USER-DATA md5=[0-9a-f]{32}/);
    assert.match(await inGuest(driver, id, `grep -o '"admin_pass":"[^"]*"' /dev/sr0`), /"admin_pass":"Geheim-1"/);
  });

  it("a SCSI disk is there, with its serial number", async () => {
    await until("its module is loaded", async () => (await inGuest(driver, id, "cat /sys/block/sda/size || true")) === String((5 * MiB) / 512));
    assert.match(await inGuest(driver, id, "tail -c +5 /sys/block/sda/device/vpd_pg80"), /scsi-serial/);
  });

  it("a network of QEMU's own gives the guest an address", async () => {
    await until("it has one", async () => /10\.0\.2\.15/.test(await inGuest(driver, id, "ip addr")), 30 * SECOND_MS);
  });

  it("a limit slows the guest down", async () => {
    await attach({ ...disk("vdb", await rawFile(folder, 8 * MiB)), limits: { writeBytesPerSecond: MiB } });
    const began = performance.now();
    await write("vdb", 4 * MiB);
    assert.ok(performance.now() - began > 2 * SECOND_MS);
    await driver.detachDisk(id, "vdb");
  });

  it("what the guest discards takes no space", async () => {
    const node = await rawFile(folder, 4 * MiB);
    await attach({ ...disk("vdb", node), discard: true });
    await write("vdb", 4 * MiB);
    assert.ok((await allocatedBytes(node)) >= 4 * MiB);
    await inGuest(driver, id, "blkdiscard /dev/vdb");
    assert.ok((await allocatedBytes(node)) < MiB);
    await driver.detachDisk(id, "vdb");
  });

  it("what another process shows on a socket is a disk, also when that process is killed and comes back", async () => {
    const node = await rawFile(folder, 2 * MiB);
    const path = join(folder, "nbd");
    let server = await serveBlocks(node, path);
    try {
      await attach(disk("vdb", { driver: "raw", file: { driver: "nbd", server: { type: "unix", path }, export: "disk" } }));
      server.kill("SIGKILL");
      await once(server, "exit");
      await rm(path, { force: true });
      const writing = write("vdb", MiB).catch(() => {}); // Its answer is lost where the guest is stopped meanwhile.
      server = await serveBlocks(node, path);
      await until("all is written", async () => {
        if ((await driver.stat(id))?.state === "paused") await driver.resume(id);
        return (await allocatedBytes(node)) >= MiB;
      });
      await writing;
      await driver.detachDisk(id, "vdb");
    } finally {
      server.kill("SIGKILL");
    }
  });

  it("a disk whose storage is full stops the guest, and nothing is lost when there is room again", async () => {
    using log = await EventLog.open(driver);
    const node = await rawFile(small, 2 * MiB);
    await attach(disk("vdb", node));
    const writing = write("vdb", 2 * MiB).catch(() => {}); // Its answer is lost where the guest stops before it gives it.
    await log.seen({ kind: "io_error", id, target: "vdb", paused: true });
    assert.deepEqual([(await driver.stat(id))?.state, (await driver.stat(id))?.reason], ["paused", "io_error"]);
    await mount("-o", "remount,size=8m", small);
    await driver.resume(id);
    await writing;
    const count = `head -c ${2 * MiB} /dev/vdb | tr -d w | wc -c`;
    await until("all is written", async () => (await inGuest(driver, id, `sync; echo 3 >/proc/sys/vm/drop_caches; ${count}`)) === "0");
    await driver.detachDisk(id, "vdb");
  });

  it("guests of another installation on the same host are not its own", async () => {
    await using other = libvirt.open({}, "another");
    assert.deepEqual(await other.list(), []);
    assert.deepEqual((await driver.list()).map((guest) => guest.id), [id]);
  });

  async function attach(disk: GuestDisk): Promise<void> {
    await driver.attachDisk(id, disk);
    await until("the guest sees it", async () => (await inGuest(driver, id, "ls /dev")).split("\n").includes(disk.target));
  }

  /** Fills the beginning of a disk with the letter w, and waits until it is there. */
  async function write(target: string, lengthBytes: number): Promise<void> {
    await inGuest(driver, id, `tr '\\0' w </dev/zero | head -c ${lengthBytes} | dd of=/dev/${target} bs=256k iflag=fullblock conv=fsync`);
  }
});

async function specOfEverything(id: string, folder: string): Promise<GuestSpec> {
  const image = await guestImage();
  const [root, drive] = [join(folder, "root"), join(folder, "config-drive")];
  await copyFile(image.root, root);
  const key = { name: "mine", data: KEY };
  const facts = { id, name: "web", hostname: "web.example", projectId: "p", availabilityZone: "nova", launchIndex: 0, metadata: {}, key };
  await makeIso(drive, configDriveFiles({ ...facts, userData: Buffer.from("#!/bin/sh\n"), devices: [], personality: [], adminPassword: "Geheim-1" }), { label: CONFIG_DRIVE_LABEL });
  const rootDisk = disk("vda", { driver: "raw", file: { driver: "file", filename: root } });
  return {
    id,
    title: "hardware",
    memoryBytes: 160 * MiB,
    vcpuCount: 2,
    boot: { kind: "kernel", kernelPath: image.kernel, ramdiskPath: image.ramdisk, commandLine: `${image.commandLine} root=/dev/vda mica=<"&'>` },
    disks: [
      { ...rootDisk, bootOrder: 1 },
      { ...disk("sda", await rawFile(folder, 5 * MiB)), bus: "scsi", serial: "scsi-serial" },
      { ...disk("hda", { driver: "raw", file: { driver: "file", filename: drive } }), bus: "ide", device: "cdrom", readOnly: true },
    ],
    nics: [{ kind: "user", mac: "fa:16:3e:00:00:01" }],
    consoleLogPath: join(folder, "console.log"),
    guestAgent: true,
    rng: true,
  };
}

/** Its file system may have no O_DIRECT. */
function disk(target: string, node: BlockNode): GuestDisk {
  return { target, bus: "virtio", device: "disk", node, serial: `serial-${target}`, cache: "writeback" };
}

async function rawFile(folder: string, sizeBytes: number): Promise<BlockNode & { driver: "raw" }> {
  const filename = join(folder, randomUUID());
  await writeFile(filename, "");
  await truncate(filename, sizeBytes);
  return { driver: "raw", file: { driver: "file", filename } };
}

/** Shows a disk's bytes at the socket, for one guest after the other. */
async function serveBlocks(node: BlockNode, path: string): Promise<ChildProcess> {
  const server = spawn("qemu-nbd", ["--persistent", "--export-name", "disk", "--socket", path, jsonFilename(node)], { stdio: "ignore" });
  await until("the socket is there", async () => existsSync(path), 10 * SECOND_MS);
  return server;
}

async function allocatedBytes(node: BlockNode): Promise<number> {
  assert.ok(node.driver === "raw" && node.file.driver === "file");
  return (await stat(node.file.filename)).blocks * 512;
}

async function mount(...args: string[]): Promise<void> {
  await run("mount", args, { timeoutMs: 10 * SECOND_MS });
}
