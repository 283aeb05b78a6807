import assert from "node:assert/strict";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { gunzipSync, gzipSync, zstdCompressSync, zstdDecompressSync } from "node:zlib";
import { fileNode } from "#/domain/block-node.ts";
import { COMPRESSIONS } from "#/domain/compression.ts";
import { asAppError } from "#/domain/errors.ts";
import { StreamInspector } from "#/format/inspect.ts";
import { MiB } from "#/lib/units.ts";
import { assertContent, assertGone, content, get, newDisk, padded, put, putNew, rejectsWith } from "#/storage/contract/bench.ts";
import type { StorageDriver } from "#/storage/driver.ts";
import { FileDriver } from "#/storage/file/driver.ts";
import { MemoryDriver } from "#/storage/memory/driver.ts";
import * as qemuImg from "#/tools/qemu-img.ts";
import { type Conversion, convert, isStreamable, stageThenConvert } from "#/transfer/convert.ts";

const root = await mkdtemp(join(tmpdir(), "mica-convert-"));
after(() => rm(root, { recursive: true }));
const files = async () => FileDriver.open(await mkdtemp(join(root, "pool-")));
const POOLS = { memory: async () => new MemoryDriver(), files };
const GUEST_BYTES = 6 * MiB;
const guest = content(GUEST_BYTES, 1);
guest.fill(0, MiB, 3 * MiB);

const FORMATS = ["raw", "qcow2", "vmdk", "vhd", "vhdx", "vdi"] as const;
const UNPACK = { gzip: gunzipSync, zstd: zstdDecompressSync } as const;
const PACK = { gzip: gzipSync, zstd: zstdCompressSync } as const;

/** Where temporary files may be, and how many there were at the end. */
const staging = { path: join(root, "staging", "3c9d0b44-97e3-4a54-8c53-1f26f0d3b1e1"), sizeBytesMax: 64 * MiB };
const assertNothingStaged = async () => assert.deepEqual(await readdir(join(root, "staging")).catch(() => []), []);

async function move(conversion: Conversion) {
  const moved = isStreamable(conversion) ? { ...(await convert(conversion)), bytesTemporary: 0 } : await stageThenConvert({ ...conversion, staging });
  await assertNothingStaged();
  return moved;
}

/** What our inspector takes it for, and what a guest sees of it by qemu-img. */
async function look(bytes: Uint8Array, format: (typeof FORMATS)[number]) {
  const inspector = new StreamInspector();
  inspector.update(bytes);
  const { problems, format: found, virtualSizeBytes } = inspector.finish();
  const [packed, raw] = [join(root, `look.${format}`), join(root, "look.raw.out")];
  await writeFile(packed, bytes);
  await writeFile(raw, new Uint8Array(virtualSizeBytes));
  await qemuImg.convert(fileNode(packed, format), fileNode(raw, "raw"));
  const info = await qemuImg.info(fileNode(packed, format));
  return { problems, found, virtualSizeBytes, info, guest: await readFile(raw) };
}

describe("a compressed image of a disk, and the disk of a compressed image", () => {
  for (const [name, open] of Object.entries(POOLS)) {
    for (const format of FORMATS) {
      const compression = format === "raw" || format === "vdi" ? "zstd" : "gzip";
      it(`${format} in ${compression} from and to a pool in ${name}`, async () => {
        await using pool = await open();
        const source = { pool, disk: await putNew(pool, guest) };
        const image = { ...newDisk(GUEST_BYTES, "opaque"), packed: format };
        const promises: number[] = [];
        const beforeBytes = async (totalBytes: number) => void promises.push(totalBytes);
        const made = await move({ source, target: { pool, disk: image }, compress: compression, beforeBytes });
        assert.equal(made.bytesTemporary > 0, format !== "raw", "only what needs its end before its beginning is staged");
        const stored = await get(pool, image);
        assert.ok((promises.at(-1) ?? 0) >= stored.length, "all of it was promised");

        const seen = await look(UNPACK[compression](stored), format);
        assert.deepEqual([seen.problems, seen.found, seen.virtualSizeBytes], [[], format, GUEST_BYTES]);
        assert.deepEqual(seen.guest, Buffer.from(guest));

        const back = newDisk(2 * GUEST_BYTES);
        await move({ source: { pool, disk: image }, target: { pool, disk: back }, beforeBytes });
        await assertContent(pool, back, padded(guest, 2 * GUEST_BYTES));
      });
    }
  }

  it("goes as it is from one pool to another", async () => {
    await using pool = await files();
    const stored = gzipSync(guest);
    const [image, copy] = [{ ...newDisk(GUEST_BYTES, "opaque"), packed: "raw" as const }, newDisk(GUEST_BYTES, "opaque")];
    await put(pool, image, stored);
    const other = new MemoryDriver();
    await move({ source: { pool, disk: image }, target: { pool: other, disk: copy } });
    await assertContent(other, copy, stored);
  });

  it("tells how far it is", async () => {
    await using pool = await files();
    for (const packed of ["raw", "qcow2"] as const) {
      const fractions: number[] = [];
      const onProgress = (fraction: number) => void fractions.push(fraction);
      const image = { ...newDisk(GUEST_BYTES, "opaque"), packed };
      await move({ source: { pool, disk: await putNew(pool, guest) }, target: { pool, disk: image }, compress: "zstd", onProgress });
      await move({ source: { pool, disk: image }, target: { pool, disk: newDisk(GUEST_BYTES) }, onProgress });
      assert.deepEqual([...new Set(fractions.filter((fraction) => fraction < 0 || fraction > 1))], []);
      assert.equal(fractions.at(-1), 1);
    }
  });
});

async function putPacked(pool: StorageDriver, bytes: Uint8Array, { packed, compression = "gzip" }: { packed: (typeof FORMATS)[number]; compression?: keyof typeof PACK }) {
  const disk = { ...newDisk(GUEST_BYTES, "opaque"), packed };
  await put(pool, disk, PACK[compression](bytes));
  return { pool, disk };
}

async function plainQcow2(): Promise<Uint8Array> {
  const [raw, packed] = [join(root, "plain.raw"), join(root, "plain.qcow2")];
  await writeFile(raw, guest);
  await writeFile(packed, "");
  await qemuImg.convert(fileNode(raw, "raw"), { filename: packed, format: "qcow2" });
  return readFile(packed);
}

describe("a hostile or broken compressed image", () => {
  const refused = (code: string) => (error: unknown) => asAppError(error)?.code === code;

  it("is refused before any tool reads it, and leaves nothing", async () => {
    await using pool = await files();
    await writeFile(join(root, "base.raw"), guest);
    const overlay = join(root, "overlay.qcow2");
    await qemuImg.createOverlay({ filename: overlay, virtualSizeBytes: GUEST_BYTES, backingFilename: join(root, "base.raw"), backingFormat: "raw" });
    for (const compression of COMPRESSIONS) {
      const source = await putPacked(pool, await readFile(overlay), { packed: "qcow2", compression });
      const disk = newDisk(GUEST_BYTES);
      await assert.rejects(move({ source, target: { pool, disk } }), refused("image_unsafe"));
      await assertGone(pool, disk.id);
    }
    for (const [bytes, packed] of [[await plainQcow2(), "raw"], [guest, "qcow2"]] as const) {
      const disk = newDisk(GUEST_BYTES);
      await assert.rejects(move({ source: await putPacked(pool, bytes, { packed }), target: { pool, disk } }), refused("image_format_mismatch"));
      await assertGone(pool, disk.id);
    }
    await assertNothingStaged();
  });

  it("is refused where its disk is larger than the new one, or than there is room to stage", async () => {
    await using pool = await files();
    const disk = newDisk(MiB);
    await assert.rejects(move({ source: await putPacked(pool, guest, { packed: "raw" }), target: { pool, disk } }), refused("bad_request"));
    const bomb = await putPacked(pool, Buffer.alloc(200 * MiB), { packed: "qcow2", compression: "zstd" });
    await assert.rejects(move({ source: bomb, target: { pool, disk } }), refused("image_format_mismatch"));
    const source = await putPacked(pool, await plainQcow2(), { packed: "qcow2" });
    await assert.rejects(move({ source, target: { pool, disk } }), refused("bad_request"));
    const target = { pool, disk: newDisk(GUEST_BYTES) };
    await rejectsWith("pool_full", () => stageThenConvert({ source, target, staging: { ...staging, sizeBytesMax: MiB } }));
    await assertGone(pool, disk.id);
    await assertNothingStaged();
  });

  it("stops in the middle when it is told to, and leaves nothing", async () => {
    await using pool = await files();
    for (const packed of ["raw", "qcow2"] as const) {
      const stop = new AbortController();
      const image = { ...newDisk(GUEST_BYTES, "opaque"), packed };
      const source = { pool, disk: await putNew(pool, guest) };
      const work = move({ source, target: { pool, disk: image }, compress: "gzip", signal: stop.signal, onProgress: () => stop.abort() });
      await assert.rejects(work, refused("cancelled"));
      await assertGone(pool, image.id);
      await assertNothingStaged();
    }
  });
});
