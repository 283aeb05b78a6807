import { randomUUID } from "node:crypto";
import { constants, copyFile, mkdtemp, rm, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { type BlockNode, overlayNode } from "#/domain/block-node.ts";
import { createOverlay } from "#/tools/qemu-img.ts";
import { hypervisorContract } from "#/vm/contract.ts";
import { dataDisk, type VmBench } from "#/vm/contract/bench.ts";
import { guestImage } from "./support/guest.ts";
import { inGuest } from "./support/guest-shell.ts";
import { startLibvirt } from "./support/libvirt.ts";

hypervisorContract("LibvirtDriver", openLibvirtBench);

async function openLibvirtBench(): Promise<VmBench> {
  const image = await guestImage();
  const folder = await mkdtemp("/tmp/mica-vm-disks-");
  const libvirt = await startLibvirt();
  const driver = libvirt.open();
  const newPath = () => join(folder, randomUUID());
  const rawNode = (filename: string): BlockNode => ({ driver: "raw", file: { driver: "file", filename } });
  return {
    driver,
    secondMs: 1000,
    openAnother: () => libvirt.open(),
    bootDisk: async () => {
      const path = newPath();
      await copyFile(image.disk, path, constants.COPYFILE_FICLONE);
      return { ...dataDisk("vda", rawNode(path)), serial: "root", bootOrder: 1 };
    },
    blankNode: async (format, sizeBytes) => {
      const base = newPath();
      await writeFile(base, "");
      await truncate(base, sizeBytes);
      if (format === "raw") return rawNode(base);
      const filename = newPath();
      await createOverlay({ filename, virtualSizeBytes: sizeBytes, backingFilename: base, backingFormat: "raw" });
      return overlayNode(filename, rawNode(base));
    },
    newFolder: () => mkdtemp(join(folder, "folder-")),
    consoleLogPath: newPath,
    sizeInGuest: async (id, serial) => {
      const sectors = await inGuest(driver, id, `${findDisk(serial)}; [ -z "$disk" ] || cat /sys/block/$disk/size`);
      return sectors === "" ? undefined : Number(sectors) * 512;
    },
    writeInGuest: async (id, serial, byte, lengthBytes) => {
      const character = String.fromCharCode(byte);
      await inGuest(driver, id, `${findDisk(serial)}; tr '\\0' ${character} </dev/zero | head -c ${lengthBytes} | dd of=/dev/$disk bs=64k iflag=fullblock conv=fsync`);
    },
    bootId: (id) => inGuest(driver, id, "cat /proc/sys/kernel/random/boot_id"),
    hangAgent: async (id, durationMs) => {
      // The command that stops the agent comes from the agent, which must answer first.
      const hang = `(sleep 0.1; kill -STOP $agent; sleep ${durationMs / 1000}; kill -CONT $agent) >/dev/null 2>&1 </dev/null &`;
      await inGuest(driver, id, `agent=$(pidof qemu-ga); ${hang}`);
      await delay(300);
    },
    killDaemon: () => libvirt.kill(),
    startDaemon: () => libvirt.restart(),
    killGuest: async (id) => void process.kill(await libvirt.qemuPid(id), "SIGKILL"),
    [Symbol.asyncDispose]: async () => {
      await driver[Symbol.asyncDispose]();
      await libvirt[Symbol.asyncDispose]();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Shell: sets `disk` to the name of the disk with that serial, or to nothing. */
function findDisk(serial: string): string {
  return `disk=; for block in /sys/block/vd*; do [ "$(cat $block/serial 2>/dev/null)" = ${serial} ] && disk=\${block##*/}; done`;
}
