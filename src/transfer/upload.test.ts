import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { after, describe, it } from "node:test";
import { setImmediate as nextTurn, setTimeout as sleep } from "node:timers/promises";
import fc from "fast-check";
import { AppError, type ErrorCode } from "#/domain/errors.ts";
import { GiB, KiB, MiB } from "#/lib/units.ts";
import { assertContent, assertGone, content, dense, newDisk, ODD_SIZES_BYTES, padded, rejectsWith } from "#/storage/contract/bench.ts";
import type { DiskWriter, StorageDriver } from "#/storage/driver.ts";
import { FileDriver } from "#/storage/file/driver.ts";
import { MemoryDriver } from "#/storage/memory/driver.ts";
import { receiveUpload, type UploadOptions } from "#/transfer/upload.ts";

const folder = await mkdtemp(join(tmpdir(), "mica-upload-"));
after(() => rm(folder, { recursive: true }));
const files = await FileDriver.open(folder);
const limits = { sizeBytesMax: GiB };

describe("receiveUpload()", () => {
  for (const [name, driver] of Object.entries({ memory: new MemoryDriver(), files })) {
    it(`stores and hashes content of any size in a pool of ${name}`, async () => {
      for (const sizeBytes of [...ODD_SIZES_BYTES, 256 * KiB, 256 * KiB + 1, MiB, 4 * MiB - 1, 4 * MiB, 4 * MiB + 1, 25 * MiB + 3]) {
        await assertArrives(driver, long(sizeBytes, sizeBytes), 64 * KiB, { expectedSizeBytes: sizeBytes });
      }
    });

    it(`does not care how the content is cut, in a pool of ${name}`, async () => {
      const bytes = long(6 * MiB + 12_345, 4);
      const anyCut = fc.oneof(fc.integer({ min: 1000, max: 100_000 }), fc.integer({ min: 1, max: 8 * MiB }).map((cut) => Math.max(cut, 1000)));
      await fc.assert(fc.asyncProperty(anyCut, (cut) => assertArrives(driver, bytes, cut)), { numRuns: 10 });
    });
  }

  it("stores several uploads at once", async () => {
    const driver = new MemoryDriver();
    await Promise.all(Array.from({ length: 8 }, (_, i) => assertArrives(driver, long(9 * MiB + i, i), 50_000)));
  });

  it("tells what a guest would see", async () => {
    const bytes = content(MiB, 1);
    assert.equal((await receiveUpload(chunks(bytes), new SpyWriter(), { ...limits, diskFormat: "raw" })).virtualSizeBytes, MiB);
    assert.equal((await receiveUpload(chunks(bytes), new SpyWriter(), limits)).virtualSizeBytes, undefined);
  });

  it("asks for room before bytes are written, and says how many still wait", async () => {
    const writer = new SpyWriter();
    const asked: [number, number][] = [];
    const beforeBytes = async (totalBytes: number, unwrittenBytes: number) => {
      assert.equal(totalBytes - unwrittenBytes, writer.writtenBytes);
      assert.ok(writer.begunBytes < totalBytes);
      asked.push([totalBytes, unwrittenBytes]);
    };
    await receiveUpload(chunks(long(20 * MiB, 1), MiB), writer, { ...limits, beforeBytes });
    assert.deepEqual(asked.map(([totalBytes]) => totalBytes), Array.from({ length: 20 }, (_, i) => (i + 1) * MiB));
  });

  it("tells how far it is, where it knows the size", async () => {
    const fractions: number[] = [];
    const onProgress = (fraction: number) => fractions.push(fraction);
    await receiveUpload(chunks(long(4 * MiB, 1), MiB), new SpyWriter(), { ...limits, expectedSizeBytes: 4 * MiB, onProgress });
    assert.deepEqual(fractions, [0.25, 0.5, 0.75, 1]);
    await receiveUpload(chunks(long(4 * MiB, 1), MiB), new SpyWriter(), { ...limits, onProgress: () => assert.fail("it cannot know") });
  });

  it("reads the source no faster than a slow writer takes it", async () => {
    const gate = Promise.withResolvers<void>();
    const writer = new SpyWriter({ beforeWrite: () => gate.promise });
    let given = 0;
    const source = (async function* () {
      for (; given < 100; given++) yield new Uint8Array(MiB);
    })();
    const upload = receiveUpload(source, writer, limits);
    await sleep(100);
    assert.ok(given >= 20 && given <= 28, `${given} MiB were read while nothing was written`);
    gate.resolve();
    assert.equal((await upload).sizeBytes, 100 * MiB);
    assert.ok(writer.mostAtOnce <= writer.concurrency);
  });

  it("leaves a stream open that is used by a generator, so that the client can still be answered", async () => {
    const stream = Readable.from([dense(MiB, 1), dense(MiB, 2)], { objectMode: false });
    const source = (async function* () {
      yield* stream.iterator({ destroyOnReturn: false }) as AsyncIterable<Uint8Array>;
    })();
    await rejectsWith("too_large", () => receiveUpload(source, new SpyWriter(), { sizeBytesMax: 10 }));
    assert.equal(stream.destroyed, false);
  });
});

describe("receiveUpload() aborts the writer once, and never finishes it,", () => {
  it("when the content is shorter than was announced", async () => {
    await assertRefused("upload_broken", /after 5242880 of the 5242881 bytes/, chunks(long(5 * MiB, 1)), { ...limits, expectedSizeBytes: 5 * MiB + 1 });
  });

  it("when the content is longer than was announced, without reading on", async () => {
    await assertRefused("upload_broken", /more than the 1048576 bytes/, endless(), { ...limits, expectedSizeBytes: MiB });
  });

  it("when the content is empty and was not announced as such", async () => {
    await assertRefused("upload_broken", /after 0 of the 1 bytes/, chunks(new Uint8Array(0)), { ...limits, expectedSizeBytes: 1 });
  });

  it("when the content passes the limit, announced or not", async () => {
    await assertRefused("too_large", /limit of 10 MiB/, endless(), { sizeBytesMax: 10 * MiB });
    await assertRefused("too_large", /limit of 10 MiB/, unread(), { sizeBytesMax: 10 * MiB, expectedSizeBytes: 10 * MiB + 1 });
  });

  it("when the source breaks off, at any point", async () => {
    for (const afterBytes of [0, 1000, 4 * MiB, 5 * MiB + 1]) {
      const cause = Object.assign(new Error("aborted"), { code: "ECONNRESET" });
      const error = await assertRefused("upload_broken", new RegExp(`broke off after ${afterBytes} bytes`), broken(afterBytes, cause), limits);
      assert.equal(error.cause, cause);
    }
  });

  it("when the source has a reason of its own", async () => {
    await assertRefused("request_timeout", /too slow/, broken(MiB, new AppError("request_timeout", "too slow")), limits);
  });

  it("when there is no more room", async () => {
    const beforeBytes = async (totalBytes: number) => {
      if (totalBytes > 6 * MiB) throw new AppError("pool_full", "no room");
    };
    await assertRefused("pool_full", /no room/, endless(), { ...limits, beforeBytes });
  });

  it("when the content is not what the image says, as soon as that is certain", async () => {
    await assertRefused("image_format_mismatch", /qcow2/, endless(), { ...limits, diskFormat: "qcow2" });
    await assertRefused("image_format_mismatch", /vmdk/, chunks(dense(100, 1)), { ...limits, diskFormat: "vmdk" });
    const hostile = padded(Buffer.from("QFI\xfb\0\0\0\x63", "latin1"), 2 * MiB);
    await assertRefused("image_unsafe", /./, forever(hostile), { ...limits, diskFormat: "qcow2" });
  });

  it("when the writer fails, also while the source keeps us waiting", async () => {
    for (const failAt of [1, 2, 5]) {
      const writer = new SpyWriter({ failAt });
      await assertRefused("pool_full", /disk is full/, endless(), limits, writer);
    }
    const writer = new SpyWriter({ failAt: 1 });
    await assertRefused("pool_full", /disk is full/, thenStuck(long(4 * MiB, 1)), limits, writer);
  });

  it("when it is cancelled, at any point", async () => {
    for (const source of [() => thenStuck(dense(100, 1)), () => thenStuck(long(9 * MiB, 1)), endless]) {
      const stop = new AbortController();
      setTimeout(() => stop.abort(), 20);
      await assertRefused("cancelled", /cancelled/, source(), { ...limits, signal: stop.signal });
    }
    const reason = new AppError("gone", "the image was deleted");
    await assertRefused("gone", /deleted/, unread(), { ...limits, signal: AbortSignal.abort(reason) });
  });

  it("and waits for writes under way before that", async () => {
    const gate = Promise.withResolvers<void>();
    const writer = new SpyWriter({ beforeWrite: () => gate.promise });
    const upload = receiveUpload(broken(9 * MiB, new Error("gone")), writer, limits);
    upload.catch(() => {});
    await sleep(50);
    assert.deepEqual([writer.calls, writer.runningCount], [[], 2]);
    gate.resolve();
    await assert.rejects(upload);
    assert.deepEqual(writer.calls, ["abort"]);
  });
});

describe("receiveUpload() and the end of the writer", () => {
  it("passes on why the disk could not be finished", async () => {
    const writer = new SpyWriter({ failFinish: true });
    await rejectsWith("pool_full", () => receiveUpload(chunks(dense(100, 1)), writer, limits));
    assert.deepEqual(writer.calls, ["finish 100"]); // It leaves nothing behind when it fails: see storage/driver.ts.
  });

  it("says the first reason, also where giving up fails too", async () => {
    const writer = new SpyWriter({ failAbort: true });
    await rejectsWith("too_large", () => receiveUpload(endless(), writer, { sizeBytesMax: 10 }));
  });

  it("leaves nothing in a pool", async () => {
    const stop = () => {
      const stopping = new AbortController();
      setTimeout(() => stopping.abort(), 50);
      return { ...limits, signal: stopping.signal };
    };
    const refused: [() => AsyncIterable<Uint8Array>, () => UploadOptions][] = [
      [() => broken(9 * MiB, new Error("gone")), () => limits],
      [endless, () => ({ sizeBytesMax: 9 * MiB })],
      [() => thenStuck(long(9 * MiB, 1)), stop],
    ];
    for (const driver of [new MemoryDriver({ capacityBytes: 64 * MiB }), files]) {
      for (const [source, options] of refused) {
        const disk = newDisk(MiB);
        const given = options();
        const writer = await driver.receive(disk, { signal: given.signal });
        await assert.rejects(receiveUpload(source(), writer, given), AppError);
        await assertGone(driver, disk.id);
      }
    }
    const small = new MemoryDriver({ capacityBytes: 10 * MiB });
    const disk = newDisk(MiB);
    await rejectsWith("pool_full", async () => receiveUpload(endless(), await small.receive(disk), limits));
    await assertGone(small, disk.id);
  });
});

async function assertArrives(driver: StorageDriver, bytes: Uint8Array, cut: number, options: Partial<UploadOptions> = {}): Promise<void> {
  const disk = newDisk(bytes.length);
  const uploaded = await receiveUpload(chunks(bytes, cut), await driver.receive(disk), { ...limits, ...options });
  const [md5, sha512] = ["md5", "sha512"].map((algorithm) => createHash(algorithm).update(bytes).digest("hex"));
  assert.deepEqual(uploaded, { sizeBytes: bytes.length, md5, sha512, virtualSizeBytes: undefined });
  await assertContent(driver, disk, bytes);
  await driver.delete(disk.id);
}

async function assertRefused(code: ErrorCode, message: RegExp, source: AsyncIterable<Uint8Array>, options: UploadOptions, writer = new SpyWriter()): Promise<AppError> {
  const error = await receiveUpload(source, writer, options).then(() => assert.fail("it was taken"), (refused: unknown) => refused);
  assert.ok(error instanceof AppError, String(error));
  assert.equal(error.code, code, error.message);
  assert.match(error.message, message);
  assert.deepEqual(writer.calls, ["abort"]);
  assert.equal(writer.runningCount, 0);
  return error;
}

/** Noise and zeroes, as `content()` has them, quickly. */
function long(sizeBytes: number, seed: number): Uint8Array {
  const [bytes, piece] = [new Uint8Array(sizeBytes), content(300_001, seed)];
  for (let start = 0; start < sizeBytes; start += piece.length) bytes.set(piece.subarray(0, sizeBytes - start), start);
  return bytes;
}

async function* chunks(bytes: Uint8Array, cut = 64 * KiB): AsyncGenerator<Uint8Array> {
  for (let start = 0; start < bytes.length; start += cut) yield bytes.subarray(start, start + cut);
}

const NOISE = dense(MiB, 1);

function endless(): AsyncGenerator<Uint8Array> {
  return forever(NOISE);
}

async function* forever(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  for (;;) {
    yield bytes;
    await nextTurn();
  }
}

async function* broken(afterBytes: number, cause: Error): AsyncGenerator<Uint8Array> {
  yield* chunks(long(afterBytes, 1));
  throw cause;
}

async function* thenStuck(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield* chunks(bytes);
  await new Promise(() => {});
}

async function* unread(): AsyncGenerator<Uint8Array> {
  yield assert.fail("it was read");
}

interface SpyOptions {
  readonly beforeWrite?: () => Promise<void>;
  readonly failAt?: number;
  readonly failFinish?: boolean;
  readonly failAbort?: boolean;
}

/** Keeps nothing, and notes how it is used. */
class SpyWriter implements DiskWriter {
  readonly concurrency = 3;
  readonly calls: string[] = [];
  begunBytes = 0;
  writtenBytes = 0;
  runningCount = 0;
  mostAtOnce = 0;
  #writes = 0;
  readonly #options: SpyOptions;

  constructor(options: SpyOptions = {}) {
    this.#options = options;
  }

  async write(block: Uint8Array): Promise<void> {
    this.begunBytes += block.length;
    this.mostAtOnce = Math.max(this.mostAtOnce, ++this.runningCount);
    try {
      await this.#options.beforeWrite?.();
      await nextTurn();
      if (++this.#writes === this.#options.failAt) throw new AppError("pool_full", "the disk is full");
      this.writtenBytes += block.length;
    } finally {
      this.runningCount -= 1;
    }
  }

  async finish(sizeBytes: number): Promise<void> {
    this.calls.push(`finish ${sizeBytes}`);
    if (this.#options.failFinish) throw new AppError("pool_full", "the disk is full");
  }

  async abort(): Promise<void> {
    this.calls.push("abort");
    if (this.#options.failAbort) throw new Error("the disk is gone");
  }
}
