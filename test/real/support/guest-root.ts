import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileNode } from "#/domain/block-node.ts";
import { MINUTE_MS } from "#/lib/units.ts";
import { convert } from "#/tools/qemu-img.ts";
import { run } from "#/tools/run.ts";

const timeoutMs = MINUTE_MS;
/** Where the small guest's root file system lies on its disk. */
const ROOT_OFFSET_MIB = 25;
const ROOT_MIB = 48;

/** What ext4 says of itself in the superblock of a copy of the small guest's disk; where it has no journal to play back, after a check that changes nothing has found no fault. */
export async function rootState(file: string, format: string): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "mica-root-"));
  try {
    const [raw, root] = [join(folder, "raw"), join(folder, "root")];
    await run("truncate", ["-s", "1G", raw], { timeoutMs });
    await convert(fileNode(file, format === "qcow2" ? "qcow2" : "raw"), fileNode(raw, "raw"));
    await run("dd", [`if=${raw}`, `of=${root}`, "bs=1M", `skip=${ROOT_OFFSET_MIB}`, `count=${ROOT_MIB}`], { timeoutMs });
    const { stdout } = await run("dumpe2fs", ["-h", root], { timeoutMs });
    if (!stdout.includes("needs_recovery")) await run("e2fsck", ["-f", "-n", root], { timeoutMs });
    return stdout;
  } finally {
    await rm(folder, { recursive: true });
  }
}
