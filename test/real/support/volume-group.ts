import { execFile } from "node:child_process";
import { mkdir, rm } from "node:fs/promises";
import { promisify } from "node:util";
import type { LvmConfig } from "#/config/pools/lvm.ts";
import { type ContractHalf, storageDriverContract } from "#/storage/contract.ts";
import { LvmDriver } from "#/storage/lvm/driver.ts";
import { Lvm } from "#/tools/lvm.ts";

const run = promisify(execFile);

/** Runs a program of the guest's; its output. */
export async function sh(program: string, ...args: string[]): Promise<string> {
  return (await run(program, args)).stdout.trim();
}

/** In the guest's memory; on its first disk, where it has one: thick volumes take all of their size. */
export const FOLDER = "/tmp/groups";
let made: Promise<void> | undefined;

/**
 * A volume group of so many bytes (`3G`), in a file: a loop device gives back the blocks that are no longer needed. Small extents,
 * so that odd sizes meet them.
 */
export async function makeVolumeGroup(name: string, size: string): Promise<void> {
  await (made ??= prepare());
  const file = `${FOLDER}/${name}`;
  await sh("truncate", "-s", size, file);
  await sh("vgcreate", "-qq", "-s", "1M", name, await sh("losetup", "-f", "--show", file));
}

async function prepare(): Promise<void> {
  await sh("modprobe", "-a", "xfs", "loop", "dm-thin-pool");
  await mkdir(FOLDER, { recursive: true });
  const [disk] = (process.env["KERNEL_VM_DISKS"] ?? "").split(" ");
  if (!disk) return;
  await sh("mkfs.xfs", "-q", "-f", disk);
  await sh("mount", disk, FOLDER);
}

export async function removeVolumeGroup(name: string): Promise<void> {
  const file = `${FOLDER}/${name}`;
  await sh("vgremove", "-qq", "-y", name);
  await sh("losetup", "-d", ...(await sh("losetup", "-n", "-O", "NAME", "-j", file)).split("\n"));
  await rm(file);
}

/** A pool's section, with the defaults. */
export function lvmConfig(options: Pick<LvmConfig, "volumeGroup" | "type"> & Partial<LvmConfig>): LvmConfig {
  return { thinDataPercentMax: 95, thinMetadataPercentMax: 90, volumeClear: "zero", volumeClearSizeBytes: 0, ...options };
}

/** The contract on a group of its own; its volumes are removed before each test. */
export async function contractOnLvm(type: "thin" | "thick", ...halves: ContractHalf[]): Promise<void> {
  const group = `vg-${type}`;
  await makeVolumeGroup(group, "2G");
  const [driver, lvm] = [await LvmDriver.open(lvmConfig({ volumeGroup: group, type }), { isNew: true }), new Lvm(group)];
  const openDriver = async () => {
    await lvm.change("lvremove", ["-S", "lv_tags=mica"]);
    return driver;
  };
  storageDriverContract(`LvmDriver, ${type}`, openDriver, halves);
}
