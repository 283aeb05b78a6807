import assert from "node:assert/strict";
import { mkdtemp, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { fileNode } from "#/domain/block-node.ts";
import { GiB, MiB } from "#/lib/units.ts";
import { makeFileSystem } from "#/tools/mkfs.ts";
import { run } from "#/tools/run.ts";
import { growFileSystem } from "#/transfer/grow-file-system.ts";

describe("growFileSystem()", async () => {
  const dir = await mkdtemp(join(tmpdir(), "mica-grow-"));
  after(() => rm(dir, { recursive: true }));

  async function sparse(name: string, sizeBytes: number): Promise<string> {
    const path = join(dir, name);
    await writeFile(path, "");
    await truncate(path, sizeBytes);
    return path;
  }

  async function blocksOf(path: string): Promise<number> {
    const { stdout } = await run("dumpe2fs", ["-h", path], { timeoutMs: 10_000 });
    return Number(/^Block count:\s+(\d+)$/m.exec(stdout)?.[1]) * Number(/^Block size:\s+(\d+)$/m.exec(stdout)?.[1]);
  }

  for (const kind of ["ext2", "ext3", "ext4"] as const) {
    it(`fills the disk with an ${kind} that was smaller`, async () => {
      const path = await sparse(kind, 64 * MiB);
      await makeFileSystem(path, { kind });
      await truncate(path, GiB);
      assert.equal(await growFileSystem(fileNode(path, "raw")), true);
      assert.equal(await blocksOf(path), GiB);
    });
  }

  it("leaves what is no such file system as it is, and what is not a plain file", async () => {
    const path = await sparse("partitioned", MiB);
    assert.equal(await growFileSystem(fileNode(path, "raw")), false);
    assert.equal(await growFileSystem({ driver: "qcow2", file: { driver: "file", filename: path }, backing: fileNode(path, "raw") }), false);
  });

  it("fails in words where the file system is broken", async () => {
    const path = await sparse("broken", 64 * MiB);
    await makeFileSystem(path, { kind: "ext4" });
    await run("dd", ["if=/dev/urandom", `of=${path}`, "bs=4096", "seek=1", "count=512", "conv=notrunc"], { timeoutMs: 10_000 });
    await truncate(path, GiB);
    await assert.rejects(growFileSystem(fileNode(path, "raw")), { code: "tool_failed" });
  });
});
