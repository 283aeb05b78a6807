import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { promisify } from "node:util";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { COMPRESSIONS } from "#/domain/compression.ts";
import { asAppError } from "#/domain/errors.ts";
import { KiB, MiB } from "#/lib/units.ts";
import { ZEROES } from "#/lib/zeroes.ts";
import { compressionEngine, compressInThreads } from "#/transfer/compress.ts";
import { decompress } from "#/transfer/decompress.ts";
import { unpack } from "#/transfer/unpack.ts";

const folder = await mkdtemp(join(tmpdir(), "mica-compress-"));
after(() => rm(folder, { recursive: true }));

/** As pools read: in buffers that are used again. */
async function* chunksOf(bytes: Uint8Array, sizeBytes = 256 * KiB): AsyncIterable<Uint8Array> {
  const buffer = new Uint8Array(sizeBytes);
  for (let start = 0; start < bytes.length; start += sizeBytes) {
    const part = bytes.subarray(start, start + sizeBytes);
    buffer.set(part);
    yield buffer.subarray(0, part.length);
    buffer.fill(0xee);
  }
}

async function all(blocks: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const block of blocks) parts.push(Buffer.from(block));
  return Buffer.concat(parts);
}

/** Data, a hole of some blocks, text, and an odd end. */
const disk = Buffer.concat([randomBytes(MiB + 7), Buffer.alloc(5 * MiB), Buffer.from("mica ".repeat(300_000)), randomBytes(513)]);
const TOOLS = { gzip: "gzip", zstd: "zstd" } as const;

for (const compression of COMPRESSIONS) {
  describe(compression, () => {
    it("makes one stream that its own tool and we read, of any length, holes nearly free", async () => {
      for (const bytes of [disk, disk.subarray(0, MiB), disk.subarray(0, 2 * MiB + 1), disk.subarray(0, 1), Buffer.alloc(0)]) {
        const packed = await all(compressInThreads(chunksOf(bytes), compression));
        const file = join(folder, `stream.${compression === "gzip" ? "gz" : "zst"}`);
        await writeFile(file, packed);
        const { stdout } = await promisify(execFile)(TOOLS[compression], ["-dc", file], { encoding: "buffer", maxBuffer: 64 * MiB });
        assert.ok(stdout.equals(bytes), `${TOOLS[compression]} reads ${bytes.length} bytes`);
        assert.ok((await all(decompress(chunksOf(packed, 1000)))).equals(bytes), `we read ${bytes.length} bytes`);
      }
      const holes = await all(compressInThreads(chunksOf(Buffer.alloc(64 * MiB)), compression));
      assert.ok(holes.length < 512 * KiB, `${holes.length} bytes for holes`);
    });

    it("reads what its own tool makes, and shows zeroes as holes", async () => {
      const file = join(folder, "disk");
      await writeFile(file, disk);
      await promisify(execFile)(TOOLS[compression], ["-kf", file]);
      const packed = await readFile(`${file}.${compression === "gzip" ? "gz" : "zst"}`);
      let holeBytes = 0;
      for await (const block of decompress(chunksOf(packed))) if (block.buffer === ZEROES.buffer) holeBytes += block.length;
      assert.ok(holeBytes > 4 * MiB, `${holeBytes} bytes of holes`);
      assert.ok((await all(decompress(chunksOf(packed)))).equals(disk));
    });

    it("refuses a stream that is cut or damaged", async () => {
      const packed = await all(compressInThreads(chunksOf(disk), compression));
      const damaged = Buffer.from(packed);
      damaged.fill(0x55, MiB / 2, MiB / 2 + 64);
      for (const bytes of [packed.subarray(0, packed.length - 9), packed.subarray(0, MiB / 4), damaged]) {
        await assert.rejects(all(decompress(chunksOf(bytes))), (error) => asAppError(error)?.code === "image_format_mismatch");
      }
    });

    it("stops as soon as its reader does, and tells the source", async () => {
      let returned = false;
      async function* endless() {
        try {
          for (;;) yield disk;
        } finally {
          returned = true;
        }
      }
      for await (const block of compressInThreads(endless(), compression)) {
        assert.ok(block.length > 0);
        break;
      }
      assert.ok(returned);
    });
  });
}

describe("compressionEngine()", () => {
  it("names what it uses, and uses it", async () => {
    const engine = await compressionEngine("zstd");
    assert.match(engine.name, /^zstd in /);
    assert.ok((await all(decompress(engine.compress(chunksOf(disk))))).equals(disk));
  });
});

describe("decompress()", () => {
  it("refuses what is neither gzip nor zstd, and nothing at all", async () => {
    for (const bytes of [disk, Buffer.from("\x1f"), Buffer.alloc(0)]) {
      await assert.rejects(all(decompress(chunksOf(bytes))), /neither gzip nor zstd/);
    }
  });

  it("passes on the source's own error", async () => {
    const packed = gzipSync(randomBytes(MiB));
    async function* breaking() {
      yield packed.subarray(0, MiB / 2);
      throw new Error("the disk broke");
    }
    await assert.rejects(all(decompress(breaking())), /the disk broke/);
  });
});

describe("unpack()", () => {
  const into = (virtualSizeBytesMax: number, format: "raw" | "qcow2" = "raw") => ({ format, virtualSizeBytesMax });

  it("lets through a disk that is what it is said to be", async () => {
    assert.ok((await all(unpack(chunksOf(gzipSync(disk)), into(disk.length)))).equals(disk));
  });

  it("ends a bomb where it passes what the disk may have, long before its end", async () => {
    const bomb = zstdCompressSync(Buffer.alloc(256 * MiB));
    let readBytes = 0;
    await assert.rejects(
      (async () => {
        for await (const block of unpack(chunksOf(bomb), into(8 * MiB))) readBytes += block.length;
      })(),
      /does not fit into 8.*MiB/,
    );
    assert.ok(readBytes <= 8 * MiB, `${readBytes} bytes came out`);
  });

  it("refuses another format than the one that was named, and a qcow2 with a backing file, before its end", async () => {
    const head = Buffer.alloc(64 * KiB);
    Buffer.from([0x51, 0x46, 0x49, 0xfb, 0, 0, 0, 3]).copy(head);
    head.writeBigUInt64BE(512n, 8); // backing_file_offset
    head.writeUInt32BE(11, 16); // backing_file_size
    head.writeUInt32BE(16, 20);
    head.writeBigUInt64BE(BigInt(MiB), 24);
    head.writeUInt32BE(104, 100);
    head.write("/etc/passwd", 512);
    const hostile = gzipSync(Buffer.concat([head, randomBytes(4 * MiB)]));
    for (const format of ["qcow2", "raw"] as const) {
      await assert.rejects(all(unpack(chunksOf(hostile), into(64 * MiB, format))), (error) => /^image_(unsafe|format_mismatch)$/.test(asAppError(error)?.code ?? ""));
    }
    await assert.rejects(all(unpack(chunksOf(gzipSync(disk)), into(64 * MiB, "qcow2"))), (error) => asAppError(error)?.code === "image_format_mismatch");
  });
});
