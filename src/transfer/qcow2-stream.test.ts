import assert from "node:assert/strict";
import { mkdtemp, open, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { fileNode } from "#/domain/block-node.ts";
import { CLUSTER_BYTES, ClusterMap, layOut } from "#/format/qcow2-layout.ts";
import { StreamInspector } from "#/format/inspect.ts";
import { GiB, KiB, MiB } from "#/lib/units.ts";
import * as qemuImg from "#/tools/qemu-img.ts";
import { run } from "#/tools/run.ts";
import { qcow2Content } from "#/transfer/qcow2-stream.ts";

const folder = await mkdtemp(join(tmpdir(), "mica-qcow2-"));
after(() => rm(folder, { recursive: true }));
const timeoutMs = 60_000;

/** A sparse raw disk with a block of data at each of the offsets. */
async function makeRaw(virtualSizeBytes: number, offsets: readonly number[], lengthBytes = 4 * KiB): Promise<string> {
  const path = join(folder, "disk.raw");
  await rm(path, { force: true });
  await using file = await open(path, "w");
  await file.truncate(virtualSizeBytes);
  for (const [index, offset] of offsets.entries()) await file.write(Buffer.alloc(Math.min(lengthBytes, virtualSizeBytes - offset), index + 1), 0, undefined, offset);
  return path;
}

async function write(raw: string, virtualSizeBytes: number) {
  const content = await qcow2Content(fileNode(raw, "raw"), virtualSizeBytes);
  const path = join(folder, "disk.qcow2");
  const inspector = new StreamInspector();
  await using file = await open(path, "w");
  let doneBytes = 0;
  for await (const block of content.blocks) {
    inspector.update(block);
    await file.write(block);
    doneBytes += block.length;
  }
  assert.equal(doneBytes, content.sizeBytes, "its length is known before the first byte");
  return { path, sizeBytes: doneBytes, inspection: inspector.finish() };
}

describe("qcow2Content()", () => {
  for (const [name, virtualSizeBytes, offsets, lengthBytes] of [
    ["an empty disk", MiB, [], 0],
    ["a disk of one sector", 512, [0], 512],
    ["data at both ends, and an end in the middle of a cluster", 3 * MiB + 5 * KiB, [0, 3 * MiB], 5 * KiB],
    ["scattered data over several tables", 3 * GiB, [0, 70 * KiB, 511 * MiB, 512 * MiB, GiB + 64 * KiB, 3 * GiB - 4 * KiB], 4 * KiB],
    ["a run of many pieces", 8 * MiB, [MiB], 3 * MiB + 7 * KiB],
    ["a disk of 40 GiB with data at its end", 40 * GiB, [40 * GiB - MiB], MiB],
  ] as const) {
    it(`writes ${name} as qemu-img and our inspector take it`, async () => {
      const raw = await makeRaw(virtualSizeBytes, offsets, lengthBytes);
      const { path, sizeBytes, inspection } = await write(raw, virtualSizeBytes);
      assert.deepEqual([inspection.problems, inspection.format, inspection.virtualSizeBytes], [[], "qcow2", virtualSizeBytes]);
      await run("qemu-img", ["check", "-f", "qcow2", path], { timeoutMs });
      await run("qemu-img", ["compare", "-f", "raw", "-F", "qcow2", raw, path], { timeoutMs });
      assert.ok(sizeBytes <= (await qemuImg.measure(fileNode(raw, "raw"), "qcow2")) + CLUSTER_BYTES, `${sizeBytes} bytes`);
    });
  }

  it("shows a disk through all that it stands on", async () => {
    const raw = await makeRaw(2 * MiB, [0, MiB], 64 * KiB);
    const top = join(folder, "top.qcow2");
    await qemuImg.createOverlay({ filename: top, virtualSizeBytes: 2 * MiB, backingFilename: raw, backingFormat: "raw" });
    const node = { driver: "qcow2", file: { driver: "file", filename: top }, backing: fileNode(raw, "raw") } as const;
    const parts: Buffer[] = [];
    for await (const block of (await qcow2Content(node, 2 * MiB)).blocks) parts.push(Buffer.from(block));
    const [made, shown] = [join(folder, "made.qcow2"), join(folder, "shown.raw")];
    await writeFile(made, Buffer.concat(parts));
    await writeFile(shown, Buffer.alloc(2 * MiB));
    await qemuImg.convert(fileNode(made, "qcow2"), fileNode(shown, "raw"));
    assert.deepEqual(await readFile(shown), await readFile(raw));
  });
});

describe("layOut()", () => {
  it("counts every cluster once, also where the refcounts take many clusters themselves", () => {
    for (const gib of [1, 7, 100]) {
      const virtualSizeBytes = gib * GiB;
      const map = new ClusterMap(virtualSizeBytes);
      map.add({ startBytes: 0, lengthBytes: virtualSizeBytes });
      const { clusters, dataStart, refcountBlocks } = layOut(map, virtualSizeBytes);
      assert.equal(clusters, dataStart + map.clusters);
      assert.ok(refcountBlocks.count * (CLUSTER_BYTES / 2) >= clusters);
      assert.ok((refcountBlocks.count - 1) * (CLUSTER_BYTES / 2) < clusters, "no more blocks than needed");
    }
  });
});
