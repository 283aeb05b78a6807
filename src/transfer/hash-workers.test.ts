import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { describe, it } from "node:test";
import { promisify } from "node:util";
import { alignedBlocks } from "#/lib/aligned-memory.ts";
import { KiB, MiB } from "#/lib/units.ts";
import { dense, rejectsWith } from "#/storage/contract/bench.ts";
import { HashWorkers } from "#/transfer/hash-workers.ts";

function shared(bytes: Uint8Array): Uint8Array<SharedArrayBuffer> {
  const [block] = alignedBlocks(1, Math.ceil(bytes.length / (4 * KiB)) * 4 * KiB);
  assert.ok(block);
  block.set(bytes);
  return block.subarray(0, bytes.length);
}

describe("HashWorkers", () => {
  it("hashes many streams at the same time, each as node:crypto does", async () => {
    const workers = new HashWorkers({ workersMax: 2 });
    const hashed = Array.from({ length: 10 }, async (_, i) => {
      const algorithm = i % 2 === 0 ? "md5" : "sha512";
      const stream = workers.open(algorithm);
      const parts = [dense(100_000, i), dense(1, i), dense(0, i), dense(MiB, i + 1)];
      await Promise.all(parts.map((part) => stream.update(shared(part))));
      assert.equal(await stream.digest(), createHash(algorithm).update(Buffer.concat(parts)).digest("hex"));
      stream.close();
    });
    await Promise.all(hashed);
  });

  it("forgets a stream that is closed in the middle, and goes on with the others", async () => {
    const workers = new HashWorkers({ workersMax: 1 });
    const [dropped, kept] = [workers.open("md5"), workers.open("md5")];
    await Promise.all([dropped.update(shared(dense(100, 1))), kept.update(shared(dense(100, 2)))]);
    dropped.close();
    dropped.close();
    assert.equal(await kept.digest(), createHash("md5").update(dense(100, 2)).digest("hex"));
    kept.close();
  });

  it("fails what a broken thread was hashing, and starts another thread for the next", async () => {
    const script = new URL("data:text/javascript,import { parentPort } from 'node:worker_threads'; parentPort.once('message', () => setTimeout(() => { throw new Error('out of order') }, 20))");
    const workers = new HashWorkers({ workersMax: 1, script });
    for (let attempt = 0; attempt < 2; attempt++) {
      const stream = workers.open("sha512");
      const [update, digest] = [stream.update(shared(dense(100, 1))), stream.digest()];
      await Promise.all([rejectsWith("internal", () => update), rejectsWith("internal", () => digest)]);
      await rejectsWith("internal", () => stream.update(shared(dense(1, 1))));
      stream.close();
    }
  });

  it("holds the process open while it hashes, and not afterwards", async () => {
    const hashWorkers = new URL("./hash-workers.ts", import.meta.url).href;
    const program = `
      const { openHashStream } = await import(${JSON.stringify(hashWorkers)});
      const stream = openHashStream("md5");
      void stream.update(new Uint8Array(new SharedArrayBuffer(10))).then(() => stream.digest()).then((digest) => {
        stream.close();
        console.log(digest);
      });`;
    const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "-e", program], { timeout: 20_000 });
    assert.equal(stdout.trim(), createHash("md5").update(new Uint8Array(10)).digest("hex"));
  });
});
