import assert from "node:assert/strict";
import { mkdtemp, rm, stat, statfs, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { fileNode } from "#/domain/block-node.ts";
import { MiB } from "#/lib/units.ts";
import { preallocate } from "#/transfer/preallocate.ts";

describe("preallocate()", async () => {
  const dir = await mkdtemp(join(tmpdir(), "mica-preallocate-"));
  after(() => rm(dir, { recursive: true }));

  it("takes the space of a raw disk, and of an overlay's own file, whose length stays", async () => {
    const [raw, overlay] = [join(dir, "raw"), join(dir, "overlay")];
    for (const path of [raw, overlay]) await writeFile(path, "bytes");
    assert.equal(await preallocate(fileNode(raw, "raw"), 8 * MiB), true);
    assert.equal(await preallocate({ driver: "qcow2", file: { driver: "file", filename: overlay }, backing: fileNode(raw, "raw") }, 8 * MiB), true);
    for (const path of [raw, overlay]) {
      const { size, blocks } = await stat(path);
      assert.deepEqual([size, blocks * 512 >= 8 * MiB], [5, true]);
    }
  });

  it("does nothing to what is no file", async () => {
    assert.equal(await preallocate({ driver: "host_device", filename: "/dev/none" }, MiB), false);
  });

  it("takes nothing where there is no room for all of it: what others write there goes on", async () => {
    const path = join(dir, "too-large");
    await writeFile(path, "bytes");
    const { blocks } = await stat(path);
    const { bavail, bsize } = await statfs(dir);
    await assert.rejects(preallocate(fileNode(path, "raw"), 2 * bavail * bsize), { code: "pool_full", message: /are free/ });
    assert.equal((await stat(path)).blocks, blocks);
  });

  it("needs no room for what the disk has already", async () => {
    const path = join(dir, "whole");
    await writeFile(path, Buffer.alloc(8 * MiB, 1));
    assert.equal(await preallocate(fileNode(path, "raw"), 8 * MiB), true);
    assert.equal((await stat(path)).size, 8 * MiB);
  });
});
