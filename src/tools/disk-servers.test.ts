import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import type { BlockNode } from "#/domain/block-node.ts";
import { MiB } from "#/lib/units.ts";
import { DiskServers } from "#/tools/disk-servers.ts";
import { openWriter } from "#/tools/qemu-nbd.ts";

const folder = await mkdtemp(join(tmpdir(), "mica-disk-servers-"));
after(() => rm(folder, { recursive: true }));
const filename = join(folder, "disk");
await writeFile(filename, Buffer.alloc(MiB));
const node: BlockNode = { driver: "raw", file: { driver: "file", filename } };

describe("DiskServers", () => {
  it("sends away who is connected and who is about to be, and lets go of the disk", async () => {
    await using servers = new DiskServers();
    const served = { node, mode: "write" } as const;
    const connected = await servers.connect("pool/disk/fill/1", served);
    const late = servers.connect("pool/disk/fill/2", served).catch(() => undefined); // Its server is still being started, and may find the disk locked.
    await servers.close("pool/disk/fill");
    assert.ok(connected.destroyed);
    assert.notEqual((await late)?.destroyed, false);
    await using writer = await openWriter(node);
    assert.equal(writer.sizeBytes, MiB);
  });

  it("leaves the users of another disk alone", async () => {
    await using servers = new DiskServers();
    const other = await servers.connect("pool/disk/raw/read", { node, mode: "read" });
    await servers.close("pool/disk/fill");
    assert.ok(!other.destroyed);
    other.destroy();
    await servers.close("pool/disk/raw");
  });
});
