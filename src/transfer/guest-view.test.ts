import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, it } from "node:test";
import { fileNode } from "#/domain/block-node.ts";
import { diskId } from "#/domain/ids.ts";
import { MiB } from "#/lib/units.ts";
import { get } from "#/storage/contract/bench.ts";
import { MemoryDriver } from "#/storage/memory/driver.ts";
import { convert as convertFile } from "#/tools/qemu-img.ts";
import { convert, isStreamable, stageThenConvert } from "#/transfer/convert.ts";
import { viewOf } from "#/transfer/guest-view.ts";
import { someContent } from "../../test/support/saga-world.ts";

const folder = await mkdtemp(join(tmpdir(), "mica-view-"));
after(() => rm(folder, { recursive: true }));
const content = someContent(2 * MiB);

/** A view of a disk in a file, as QEMU would show it on a socket, and a store that no tool can open, as those of objects. */
async function viewAndStore() {
  const path = join(folder, randomUUID());
  await writeFile(path, content);
  const source = viewOf({ id: randomUUID(), node: fileNode(path, "raw"), virtualSizeBytes: content.length, allocatedBytes: content.length });
  return { source, pool: new MemoryDriver({ capacityBytes: 64 * MiB }) };
}

it("a view is streamed into a store that no tool can open", async () => {
  const { source, pool } = await viewAndStore();
  const target = { pool, disk: { id: diskId(randomUUID()), format: "raw", virtualSizeBytes: content.length } } as const;
  assert.ok(isStreamable({ source, target }));
  const { bytesRead } = await convert({ source, target });
  assert.equal(bytesRead, content.length);
  assert.deepEqual(await get(pool, target.disk), content);
});

it("a view becomes a qcow2 image there by way of a temporary file, which goes", async () => {
  const { source, pool } = await viewAndStore();
  const target = { pool, disk: { id: diskId(randomUUID()), format: "qcow2", virtualSizeBytes: content.length } } as const;
  const { bytesTemporary } = await stageThenConvert({ source, target, staging: { path: join(folder, "staging"), sizeBytesMax: 64 * MiB } });
  assert.ok(bytesTemporary > 0);
  const [packed, raw] = [join(folder, randomUUID()), join(folder, randomUUID())];
  await writeFile(packed, await get(pool, target.disk));
  await writeFile(raw, Buffer.alloc(content.length));
  await convertFile(fileNode(packed, "qcow2"), fileNode(raw, "raw"));
  assert.ok((await readFile(raw)).equals(content));
});
