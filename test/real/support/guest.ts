import { join } from "node:path";
import { MINUTE_MS } from "#/lib/units.ts";
import { run } from "#/tools/run.ts";
import { userCache } from "./user-cache.ts";

/** A small Linux guest, as files that are not to be changed; `guest-make.sh` tells what is in it. */
export interface GuestImage {
  /** Boots by itself. */
  readonly disk: string;
  /** Its root file system alone, not partitioned, for a kernel and a ramdisk that lie outside. */
  readonly root: string;
  readonly kernel: string;
  readonly ramdisk: string;
  readonly commandLine: string;
}

/** Makes it, unless the user's cache has it. */
export async function guestImage(): Promise<GuestImage> {
  const { stdout } = await run("bash", [join(import.meta.dirname, "guest-make.sh"), userCache("mica-guest")], { timeoutMs: 5 * MINUTE_MS });
  const file = (name: string) => join(stdout.trim(), name);
  const commandLine = "console=ttyS0 quiet panic=-1 mitigations=off tsc=reliable random.trust_cpu=on cryptomgr.notests";
  return { disk: file("disk.raw"), root: file("root.ext4"), kernel: file("vmlinuz"), ramdisk: file("initrd.img"), commandLine };
}
