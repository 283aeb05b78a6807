/**
 * A client that is killed while it flattens a clone leaves a map of objects that are not there. Flattened again as if nothing had been, the clone loses them:
 * they read as zeroes, and nothing says so (librbd 16.2). Through Mica it keeps every byte, however often it happens.
 */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { createHash, randomUUID } from "node:crypto";
import { once } from "node:events";
import { after, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { MiB } from "#/lib/units.ts";
import { dense, newDisk, put } from "#/storage/contract/bench.ts";
import type { RbdDriver } from "#/storage/rbd/driver.ts";
import { type CephCluster, sharedCeph } from "./support/ceph.ts";
import { rbdPools } from "./support/rbd-pools.ts";

const SIZE_BYTES = 192 * MiB;
/** How often it is shown. */
const ROUNDS = 3;

let ceph: CephCluster;
let driver: RbdDriver;
const namespace = randomUUID();
const source: ReturnType<typeof newDisk> = { ...newDisk(SIZE_BYTES), frozen: true };
let expected: string;

before(async () => {
  ceph = await sharedCeph();
  await ceph.rbd("namespace", "create", `volumes/${namespace}`);
  driver = await rbdPools(ceph).open({ namespace });
  const bytes = dense(SIZE_BYTES, 1);
  expected = createHash("sha256").update(bytes).digest("hex");
  await put(driver, source, bytes);
});

after(async () => {
  await driver?.[Symbol.asyncDispose]();
  await ceph?.[Symbol.asyncDispose]();
});

describe("a flatten after one that was killed", () => {
  it(`keeps every byte, ${ROUNDS} times of ${ROUNDS}`, async () => {
    for (let round = 1; round <= ROUNDS; round++) {
      const clone = await halfFlattened();
      if (round > 1) await breakLock(clone.id); // Once it is waited for.
      assert.equal((await driver.stat(clone.id))?.parent, source.id, "the killed one did not get to its end");
      await driver.flatten(clone);
      assert.equal((await driver.stat(clone.id))?.parent, undefined);
      assert.equal(await hashOf(clone), expected, `round ${round}`);
      await driver.delete(clone.id);
    }
  });

  it("would lose data if it were only repeated, which is why it is not", async () => {
    for (let round = 1; round <= 2 * ROUNDS; round++) {
      const clone = await halfFlattened();
      await breakLock(clone.id);
      await ceph.rbd("flatten", "--no-progress", imageOf(clone.id));
      if ((await hashOf(clone)) !== expected) return; // It depends on the moment, mostly so.
      await driver.delete(clone.id);
    }
    assert.fail("this version of librbd does not lose it: then the remedy can go");
  });
});

/** A clone whose `rbd flatten` was killed after it had told that some of the objects are copied, and before the next. */
async function halfFlattened(): Promise<typeof source> {
  const clone = newDisk(SIZE_BYTES);
  await driver.clone(source, clone);
  const victim = spawn("rbd", ["--conf", ceph.confPath, "flatten", imageOf(clone.id)], { stdio: ["ignore", "ignore", "pipe"] });
  const gone = once(victim, "exit");
  await firstProgress(victim);
  await sleep(150);
  victim.kill("SIGKILL");
  const [, signal] = (await gone) as [number | null, string | null];
  assert.equal(signal, "SIGKILL");
  return clone;
}

async function breakLock(id: string): Promise<void> {
  const locks = JSON.parse(await ceph.rbd("lock", "ls", "--format", "json", imageOf(id))) as { id: string; locker: string }[];
  for (const lock of locks) await ceph.rbd("lock", "rm", imageOf(id), lock.id, lock.locker);
}

function imageOf(id: string): string {
  return `volumes/${namespace}/${id}`;
}

async function firstProgress(victim: ChildProcess): Promise<void> {
  let said = "";
  victim.stderr?.on("data", (chunk) => (said += chunk));
  for (const endMs = Date.now() + 60_000; !/: (?:[5-9]|[1-9]\d)% complete/.test(said); await sleep(5)) {
    assert.ok(Date.now() < endMs && victim.exitCode === null, `it makes progress: ${said}`);
  }
}

async function hashOf(disk: typeof source): Promise<string> {
  const hash = createHash("sha256");
  for await (const block of driver.read(disk, { start: 0, end: SIZE_BYTES })) hash.update(block);
  return hash.digest("hex");
}
