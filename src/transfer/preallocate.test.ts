import assert from "node:assert/strict";
import { mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { fileNode } from "#/domain/block-node.ts";
import { GiB, MiB } from "#/lib/units.ts";
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

  it("does nothing to what is no file, and fails where there is no room", async () => {
    assert.equal(await preallocate({ driver: "host_device", filename: "/dev/none" }, MiB), false);
    const path = join(dir, "too-large");
    await writeFile(path, "");
    await assert.rejects(preallocate(fileNode(path, "raw"), 10 * 1024 * GiB), { code: "pool_full" });
  });
});
