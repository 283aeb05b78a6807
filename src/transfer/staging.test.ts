import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { mkdir, mkdtemp, readdir, readFile, rm, statfs, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { alignedBlocks } from "#/lib/aligned-memory.ts";
import { KiB, MiB } from "#/lib/units.ts";
import { cancelled, content, dense, rejectsWith } from "#/storage/contract/bench.ts";
import { copyInto } from "#/transfer/copy.ts";
import { clearStaging, StagingFile } from "#/transfer/staging.ts";

const root = await mkdtemp(join(tmpdir(), "mica-staging-"));
after(() => rm(root, { recursive: true }));

const newPlace = async (sizeBytesMax = 10 * MiB) => {
  const dir = await mkdtemp(join(root, "dir-"));
  return { dir, at: () => ({ path: join(dir, randomUUID()), sizeBytesMax }) };
};

describe("StagingFile", () => {
  it("gives back what was written, and goes when it is disposed of", async () => {
    const { dir, at } = await newPlace();
    const bytes = content(3 * MiB + 5, 1);
    {
      await using file = await StagingFile.create(at(), "source", bytes.length);
      const blocks = (async function* () {
        yield bytes;
      })();
      await copyInto(await file.writer(), { blocks, sizeBytes: bytes.length }, bytes.length);
      assert.deepEqual(await readFile(file.path), Buffer.from(bytes));
      const parts = [];
      const { blocks: stored, sizeBytes } = await file.content();
      for await (const part of stored) parts.push(part.slice());
      assert.equal(sizeBytes, bytes.length);
      assert.equal(Buffer.compare(Buffer.concat(parts), bytes), 0);
      assert.ok((await file.allocatedBytes()) >= MiB);
    }
    assert.deepEqual(await readdir(dir), []);
  });

  it("makes its folder, for nobody else to read", async () => {
    const { dir } = await newPlace();
    await using file = await StagingFile.create({ path: join(dir, "a", "b", randomUUID()), sizeBytesMax: MiB }, "target", 0);
    assert.deepEqual(await readdir(join(dir, "a", "b")), [file.path.split("/").at(-1)]);
  });

  it("promises no more than the folder may hold, to all together", async () => {
    const { dir, at } = await newPlace(10 * MiB);
    const first = await StagingFile.create(at(), "source", 6 * MiB);
    await assert.rejects(StagingFile.create(at(), "source", 5 * MiB), /of the 10 MiB for temporary files 6 MiB are promised already/);
    await rejectsWith("pool_full", () => StagingFile.create(at(), "source", 5 * MiB));
    await using second = await StagingFile.create(at(), "source", 4 * MiB);
    await first[Symbol.asyncDispose]();
    await using third = await StagingFile.create(at(), "target", 6 * MiB);
    assert.deepEqual(new Set((await readdir(dir)).map((name) => join(dir, name))), new Set([second.path, third.path]));
  });

  it("promises no more than the disk has, counting what others were promised and have not written", async () => {
    const { at } = await newPlace(Number.MAX_SAFE_INTEGER);
    const { bavail, bsize } = await statfs(root);
    const most = Math.floor(bavail * bsize * 0.8);
    await rejectsWith("pool_full", () => StagingFile.create(at(), "source", 2 * bavail * bsize));
    await using _ = await StagingFile.create(at(), "source", most);
    await assert.rejects(StagingFile.create(at(), "source", most), /free that are not promised to others/);
  });

  it("begins anew where an earlier attempt has left a file", async () => {
    const { at } = await newPlace();
    const place = at();
    await writeFile(`${place.path}.source`, "old");
    await using file = await StagingFile.create(place, "source", MiB);
    assert.equal((await readFile(file.path)).length, 0);
  });

  it("stops writing when it is cancelled", async () => {
    const { at } = await newPlace();
    await using file = await StagingFile.create(at(), "source", MiB);
    const writer = await file.writer(cancelled.signal);
    const [block] = alignedBlocks(1, 4 * KiB);
    await rejectsWith("cancelled", () => writer.write(block as Uint8Array, 0));
    await writer.abort();
  });

  it("says what is wrong with the folder", async () => {
    const { dir, at } = await newPlace();
    await writeFile(join(dir, "file"), "");
    await rejectsWith("unavailable", () => StagingFile.create({ ...at(), path: join(dir, "file", "x") }, "source", 1));
  });
});

describe("clearStaging()", () => {
  it("removes what a crash has left, and nothing else", async () => {
    const { dir } = await newPlace();
    const [left, alsoLeft, foreign] = [`${randomUUID()}.source`, `${randomUUID()}.target`, randomUUID()];
    for (const name of [left, alsoLeft, foreign, "notes.target"]) await writeFile(join(dir, name), dense(10, 1));
    await mkdir(join(dir, "folder"));
    await clearStaging(dir);
    assert.deepEqual(new Set(await readdir(dir)), new Set(["folder", "notes.target", foreign]));
  });

  it("does not mind that there is no folder yet", async () => {
    await clearStaging(join(root, "never made"));
  });
});
