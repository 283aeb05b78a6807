import { execFile } from "node:child_process";
import { mkdir, writeFile } from "node:fs/promises";
import { promisify } from "node:util";
import type { LvmConfig } from "#/config/pools/lvm.ts";
import { storageDriverContract } from "#/storage/contract.ts";
import { LvmDriver } from "#/storage/lvm/driver.ts";
import { Lvm } from "#/tools/lvm.ts";

const run = promisify(execFile);

/** Runs a program of the guest's; its output. */
export async function sh(program: string, ...args: string[]): Promise<string> {
  return (await run(program, args)).stdout.trim();
}

export const FOLDER = "/physical";
let made: Promise<void> | undefined;

/**
 * A volume group of so many bytes (`3G`), in a file on the guest's first disk: a loop device passes on which blocks are no longer
 * needed, the guest's disks do not. Small extents, so that odd sizes meet them.
 */
export async function makeVolumeGroup(name: string, size: string): Promise<void> {
  await (made ??= prepare());
  const file = `${FOLDER}/${name}`;
  await sh("truncate", "-s", size, file);
  await sh("vgcreate", "-qq", "-s", "1M", name, await sh("losetup", "-f", "--show", file));
}

export async function removeVolumeGroup(name: string): Promise<void> {
  await sh("vgremove", "-qq", "-y", name);
}

/** LVM's configuration for the guest: there is no udev, and each thing that LVM looks at takes ten times as long as elsewhere. */
export const LVM_CONF = `${FOLDER}/lvm.conf`;

async function prepare(): Promise<void> {
  const [disk] = (process.env["KERNEL_VM_DISKS"] ?? "").split(" ") as [string];
  await mkdir(FOLDER, { recursive: true });
  await sh("modprobe", "-a", "xfs", "loop", "dm-thin-pool");
  await sh("mkfs.xfs", "-q", "-f", disk);
  await sh("mount", disk, FOLDER);
  // 500 terminals of the old kind, which LVM would look at each time.
  await sh("sh", "-c", "rm -f /dev/pty* /dev/tty[a-z]*");
  await writeFile(
    LVM_CONF,
    `activation { udev_sync=0 udev_rules=0 monitoring=0 }
devices { use_devicesfile=0 filter=["a|^/dev/loop|", "r|.*|"] md_component_detection=0 multipath_component_detection=0 }
backup { backup=0 archive=0 }
global { use_aio=0 thin_check_executable="" }
`,
  );
}

/** A pool's section, with the defaults. */
export function lvmConfig(options: Pick<LvmConfig, "volumeGroup" | "type"> & Partial<LvmConfig>): LvmConfig {
  return { thinDataPercentMax: 95, thinMetadataPercentMax: 90, volumeClear: "zero", volumeClearSizeBytes: 0, confPath: LVM_CONF, ...options };
}

/** The contract on a group of its own; its volumes are removed before each test. */
export async function contractOnLvm(type: "thin" | "thick"): Promise<void> {
  const group = `vg-${type}`;
  await makeVolumeGroup(group, "2G");
  const [driver, lvm] = [await LvmDriver.open(lvmConfig({ volumeGroup: group, type }), { isNew: true }), new Lvm(group, LVM_CONF)];
  storageDriverContract(`LvmDriver, ${type}`, async () => {
    await lvm.change("lvremove", ["-S", "lv_tags=mica"]);
    return driver;
  });
}
