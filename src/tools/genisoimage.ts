import { chmod, mkdir, mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { MINUTE_MS } from "#/lib/units.ts";
import { run } from "#/tools/run.ts";

/**
 * Makes an ISO 9660 image of the files, given by their paths in it, at `path`; what was there is replaced at once. With long
 * names (Rock Ridge, Joliet), readable for everybody in the guest. Errors: `tool_failed`, `tool_timed_out`.
 */
export async function makeIso(path: string, files: ReadonlyMap<string, Uint8Array>, { label }: { label: string }): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const work = await mkdtemp(`${path}.making-`);
  try {
    const tree = join(work, "tree");
    for (const [name, bytes] of files) {
      await mkdir(dirname(join(tree, name)), { recursive: true });
      await writeFile(join(tree, name), bytes, { mode: 0o600 });
    }
    const made = join(work, "iso");
    await run("genisoimage", ["-quiet", "-o", made, "-V", label, "-ldots", "-allow-lowercase", "-allow-multidot", "-l", "-J", "-r", tree], { timeoutMs: MINUTE_MS });
    await chmod(made, 0o600); // It may tell secrets. Libvirt gives it to QEMU's user, as it does the disks.
    await rename(made, path);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}
