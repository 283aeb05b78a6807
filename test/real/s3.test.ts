/** The s3 driver on a real S3 service, Ceph's gateway. */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { CreateBucketCommand, PutObjectCommand } from "@aws-sdk/client-s3";
import type { S3Config } from "#/config/pools/s3.ts";
import { AppError } from "#/domain/errors.ts";
import { silentLog } from "#/lib/log.ts";
import { GiB, KiB, MiB } from "#/lib/units.ts";
import * as bench from "#/storage/contract/bench.ts";
import { storageDriverContract } from "#/storage/contract.ts";
import type { StoredRef } from "#/storage/driver.ts";
import { openClient } from "#/storage/s3/client.ts";
import { S3Driver } from "#/storage/s3/driver.ts";
import { RetryingDriver } from "#/storage/wrap/retrying.ts";
import { readNode } from "#/storage/read-ahead.ts";
import { collectGarbage } from "../support/collect-garbage.ts";
import { startCuttingProxy } from "./support/cutting-proxy.ts";
import { OWNER, sectionOf, startObjectStore } from "./support/object-store.ts";

const store = await startObjectStore();
after(() => store[Symbol.asyncDispose]());
Object.assign(process.env, store.env);

/** A pool of its own: a folder in the bucket that all share. */
function openPool(more: Partial<S3Config> = {}): S3Driver {
  return new S3Driver(sectionOf(store, { prefix: `${randomUUID()}/`, ...more }), { log: silentLog });
}

storageDriverContract("S3Driver", async () => openPool());

describe("S3Driver", () => {
  it("stores many parts, those between them that nobody wrote as zeroes, and ends where it is told", async () => {
    await using driver = openPool();
    const [disk, sizeBytes] = [bench.newDisk(0), 37 * MiB + 5];
    const expected = new Uint8Array(sizeBytes);
    const writer = await driver.receive(disk);
    for (const start of [0, 3 * MiB, 4 * MiB + 512 * KiB, 21 * MiB, 36 * MiB]) {
      const block = bench.dense(MiB, start);
      expected.set(block.subarray(0, sizeBytes - start), start);
      await writer.write(block, start);
    }
    await writer.finish(sizeBytes);
    await bench.assertContent(driver, disk, expected);
  });

  it("removes what a dead upload has left, and leaves alone what others keep in the bucket", async () => {
    await using driver = openPool({ prefix: "" });
    const client = openClient(sectionOf(store));
    const disk = bench.newDisk(0);
    const deserted = await driver.receive(disk);
    await deserted.write(bench.dense(6 * MiB, 1), 0);
    await deserted.write(bench.dense(MiB, 1), 6 * MiB);
    await client.send(new PutObjectCommand({ Bucket: "images", Key: "of-somebody-else", Body: "x" }));
    const found = await bench.listed(driver);
    assert.deepEqual(found.map(({ id, partial }) => [id, partial]), [[disk.id, true]]);
    await driver.delete(disk.id);
    await bench.assertGone(driver, disk.id);
    await bench.rejectsWith("cancelled", () => deserted.finish(7 * MiB));
    client.destroy();
  });

  it("copies by the service, larger too, across pools and buckets", async () => {
    await using from = openPool();
    await using to = openPool({ bucket: "others" });
    assert.equal(from.can.place, to.can.place);
    for (const [sourceBytes, targetBytes] of [[3 * MiB, 3 * MiB], [3 * MiB + 1, 30 * MiB], [12 * MiB + 3, 12 * MiB + 3], [12 * MiB + 3, 40 * MiB]] as const) {
      const bytes = bench.dense(sourceBytes, targetBytes);
      const [source, target] = [await bench.putNew(from, bytes), bench.newDisk(targetBytes)];
      await to.copy({ ...source, location: from.locate(source) }, target);
      await bench.assertContent(to, target, bench.padded(bytes, targetBytes));
    }
  });

  it("finds registered bytes by their URL, in this service only", async () => {
    await using driver = openPool();
    await using other = openPool({ bucket: "others" });
    const bytes = bench.dense(5000, 1);
    const source = await bench.putNew(other, bytes);
    const disk: StoredRef = { ...bench.newDisk(5000), location: other.locate(source) };
    assert.match(disk.location ?? "", /^s3:\/\/127\.0\.0\.1:\d+\/others\/[0-9a-f-]+\/[0-9a-f-]+$/);
    assert.equal((await driver.stat(disk.id, disk.location))?.sizeBytes, 5000);
    assert.deepEqual(await Array.fromAsync(driver.read(disk, { start: 10, end: 20 }), (part) => Buffer.from(part).toString("hex")), [Buffer.from(bytes.subarray(10, 20)).toString("hex")]);
    await driver.delete(disk.id);
    assert.equal((await other.stat(source.id))?.sizeBytes, 5000);
    await bench.rejectsWith("disk_not_found", () => driver.stat(disk.id, "s3://elsewhere.example/others/x"));
  });

  it("goes on reading where the network broke, also for QEMU", async () => {
    await using proxy = await startCuttingProxy(store.endpoint, 3 * MiB);
    const section = sectionOf(store, { prefix: `${randomUUID()}/` });
    await using direct = new S3Driver(section, { log: silentLog });
    await using driver = new S3Driver({ ...section, endpoint: proxy.url }, { log: silentLog });
    const bytes = bench.dense(8 * MiB, 3);
    const disk = await bench.putNew(direct, bytes);
    const patient = new RetryingDriver(driver, { attemptsMax: 5, delayMs: 10 });
    await bench.assertContent(patient, disk, bytes);
    assert.ok(proxy.cuts >= 2);
    const before = proxy.cuts;
    const parts: Uint8Array[] = [];
    for await (const part of readNode(await driver.open(disk, "read"), { start: 0, end: 8 * MiB })) parts.push(part.slice());
    assert.equal(Buffer.compare(Buffer.concat(parts), bytes), 0);
    assert.ok(proxy.cuts > before);
  });

  it("shows QEMU no mixture of an object and of what has replaced it", async () => {
    await using driver = openPool();
    const disk = await bench.putNew(driver, bench.dense(6 * MiB, 1));
    const node = await driver.open(disk, "read");
    await assert.rejects(async () => {
      let count = 0;
      for await (const _ of readNode(node, { start: 0, end: 6 * MiB })) if (++count === 1) await bench.put(driver, disk, bench.dense(6 * MiB, 2));
    });
  });

  it("does not hold more of an upload in memory than its parts", async () => {
    await using driver = openPool();
    const disk = bench.newDisk(0);
    const writer = await driver.receive(disk);
    const block = bench.dense(MiB, 1);
    const before = process.memoryUsage().arrayBuffers;
    let mostBytes = 0;
    for (let start = 0; start < 96 * MiB; start += MiB) {
      await writer.write(block, start);
      collectGarbage();
      mostBytes = Math.max(mostBytes, process.memoryUsage().arrayBuffers - before);
    }
    await writer.finish(96 * MiB);
    assert.equal((await driver.stat(disk.id))?.sizeBytes, 96 * MiB);
    assert.ok(mostBytes < 64 * MiB, `${mostBytes} bytes`);
  });
});

describe("S3Driver says in plain words", () => {
  const wordsOf = async (driver: S3Driver, code: string, work: () => Promise<unknown>): Promise<string> => {
    await using _ = driver;
    const error: unknown = await work().then(() => undefined, (error: unknown) => error);
    assert.ok(error instanceof AppError, `it fails with an AppError: ${error}`);
    assert.equal(error.code, code, error.message);
    assert.ok(!error.message.includes(store.env.AWS_SECRET_ACCESS_KEY));
    return error.message;
  };

  it("that a key is wrong, and which part of it", async () => {
    const folder = await mkdtemp(join(tmpdir(), "mica-keys-"));
    const credentialsPath = join(folder, "keys");
    const { AWS_ACCESS_KEY_ID: key, AWS_SECRET_ACCESS_KEY: secret } = store.env;
    for (const [profile, words] of [["nobody", /does not know the access key/], ["mistyped", /secret key is not the access key's/], ["absent", /have no aws_access_key_id .* \[absent\]/]] as const) {
      await writeFile(credentialsPath, `[nobody]\naws_access_key_id = NOBODY\naws_secret_access_key = x\n; [absent]\n[mistyped]\naws_access_key_id=${key}\naws_secret_access_key=${secret}x\n`);
      const driver = openPool({ credentialsPath, profile });
      assert.match(await wordsOf(driver, "pool_unavailable", () => driver.capacity()), words);
    }
    await writeFile(credentialsPath, `[default]\naws_access_key_id=${key}\naws_secret_access_key=${secret}\n`);
    await using driver = openPool({ credentialsPath });
    assert.ok((await driver.capacity()).freeBytes > GiB);
    await rm(folder, { recursive: true });
  });

  it("that there is no bucket, unless it may make it", async () => {
    const driver = openPool({ bucket: "not-there", createBucketOnPut: false });
    assert.match(await wordsOf(driver, "pool_unavailable", () => driver.capacity()), /no bucket "not-there": make it, or set createBucketOnPut/);
    await using maker = openPool({ bucket: `made-${randomUUID()}` });
    assert.deepEqual(await bench.listed(maker), []);
    await bench.assertContent(maker, await bench.putNew(maker, bench.dense(5000, 1)), bench.dense(5000, 1));
  });

  it("that the service is not there", async () => {
    const driver = openPool({ endpoint: "http://127.0.0.1:9" });
    assert.match(await wordsOf(driver, "pool_unavailable", () => driver.capacity()), /cannot be reached/);
  });

  it("that the quota is used up, and leaves nothing of what did not fit", async () => {
    const client = openClient(sectionOf(store));
    await client.send(new CreateBucketCommand({ Bucket: "small" }));
    client.destroy();
    await store.admin("quota", "set", "--quota-scope=bucket", "--bucket=small", "--uid", OWNER, "--max-size=8M");
    await store.admin("quota", "enable", "--quota-scope=bucket", "--bucket=small", "--uid", OWNER);
    await using driver = openPool({ bucket: "small" });
    const tooLarge = bench.newDisk(0);
    await bench.rejectsWith("pool_full", () => bench.put(driver, tooLarge, bench.dense(16 * MiB, 1)));
    await bench.assertGone(driver, tooLarge.id);
  });
});
