import { execFile } from "node:child_process";
import { mkdir } from "node:fs/promises";
import { promisify } from "node:util";

const run = promisify(execFile);

/** Runs a program of the guest's; its output. */
export async function sh(program: string, ...args: string[]): Promise<string> {
  return (await run(program, args)).stdout.trim();
}

/**
 * A physical volume of so many bytes (`3G`), in a file on the guest's first disk: a loop device passes on which blocks are no longer
 * needed, the guest's disks do not. Returns its device.
 */
export async function makePhysicalVolume(size: string): Promise<string> {
  const [disk] = (process.env["KERNEL_VM_DISKS"] ?? "").split(" ") as [string];
  await mkdir("/physical", { recursive: true });
  await sh("modprobe", "-a", "xfs", "loop", "dm-thin-pool", "dm-snapshot");
  await sh("mkfs.xfs", "-q", "-f", disk);
  await sh("mount", disk, "/physical");
  await sh("truncate", "-s", size, "/physical/volume");
  return sh("losetup", "-f", "--show", "/physical/volume");
}
