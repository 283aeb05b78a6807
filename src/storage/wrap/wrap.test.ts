import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { BlockNode } from "#/domain/block-node.ts";
import { AppError } from "#/domain/errors.ts";
import type { DiskId } from "#/domain/ids.ts";
import { type Log, silentLog } from "#/lib/log.ts";
import { KiB, MiB } from "#/lib/units.ts";
import { assertContent, cancelled, content, dense, get, listed, newDisk, put, putNew, rejectsWith } from "#/storage/contract/bench.ts";
import { storageDriverContract } from "#/storage/contract.ts";
import type { Lineage, NewDisk, StorageDriver, StoredRef } from "#/storage/driver.ts";
import { MemoryDriver } from "#/storage/memory/driver.ts";
import { FaultyDriver } from "#/storage/wrap/faulty.ts";
import { LimitedDriver, Limits } from "#/storage/wrap/limited.ts";
import { LoggedDriver } from "#/storage/wrap/logged.ts";
import { RetryingDriver } from "#/storage/wrap/retrying.ts";

const NO_LIMITS = { concurrencyMax: 1, bytesPerSecondMax: 0 };
const PATIENT = { attemptsMax: 40, delayMs: 0 };

storageDriverContract("RetryingDriver", async () => new RetryingDriver(new MemoryDriver(), PATIENT));
storageDriverContract("LimitedDriver", async () => new LimitedDriver(new MemoryDriver(), new Limits(NO_LIMITS)));
storageDriverContract("LoggedDriver", async () => new LoggedDriver(new MemoryDriver(), silentLog));
storageDriverContract("FaultyDriver without faults", async () => new FaultyDriver(new MemoryDriver(), { random: Math.random, rate: 0 }));
storageDriverContract("RetryingDriver around faults", async () => new RetryingDriver(faulty(0.1), PATIENT));

describe("RetryingDriver", () => {
  it("reads on where it broke off", async () => {
    const memory = new MemoryDriver();
    const bytes = content(2 * MiB, 1);
    const disk = await putNew(memory, bytes);
    const driver = new RetryingDriver(faulty(0.3, memory), PATIENT);
    await assertContent(driver, disk, bytes);
  });

  it("gives up after so many attempts, with the last error", async () => {
    const driver = new RetryingDriver(faulty(1), { attemptsMax: 3, delayMs: 0 });
    await rejectsWith("pool_unavailable", () => driver.create(newDisk(MiB)));
    await rejectsWith("pool_unavailable", () => driver.capacity());
  });

  it("does not fill a disk twice: what fills it may be a stream that is gone", async () => {
    let [calls, fills] = [0, 0];
    class Unsteady extends MemoryDriver {
      override async fill(_?: NewDisk, fill?: (node: BlockNode) => Promise<void>): Promise<void> {
        calls += 1;
        if (calls > 2) await fill?.({ driver: "file", filename: "/dev/null" });
        throw new AppError("pool_unavailable", `attempt ${calls}`);
      }
    }
    const count = async () => void (fills += 1);
    await rejectsWith("pool_unavailable", () => new RetryingDriver(new Unsteady(), PATIENT).fill(newDisk(MiB), count));
    assert.deepEqual([calls, fills], [3, 1]);
  });

  it("does not repeat what will fail again", async () => {
    let calls = 0;
    class Full extends MemoryDriver {
      override async create(): Promise<void> {
        calls += 1;
        throw new AppError("pool_full", "it is full");
      }
    }
    await rejectsWith("pool_full", () => new RetryingDriver(new Full(), PATIENT).create(newDisk(MiB)));
    assert.equal(calls, 1);
  });

  it("does not wait for the next attempt when it is cancelled", async () => {
    const driver = new RetryingDriver(faulty(1), { attemptsMax: 5, delayMs: 60_000 });
    await rejectsWith("cancelled", () => driver.create(newDisk(MiB), { signal: AbortSignal.timeout(20) }));
  });

  it("lists each disk once", async () => {
    const memory = new MemoryDriver();
    const ids: DiskId[] = [];
    for (let i = 0; i < 20; i++) ids.push((await putNew(memory, dense(10, i))).id);
    const driver = new RetryingDriver(faulty(0.05, memory), PATIENT);
    assert.deepEqual((await listed(driver)).map(({ id }) => id).sort(), ids.sort());
  });
});

describe("LimitedDriver", () => {
  it("lets only so many heavy calls run at once", async () => {
    let [inside, insideMax] = [0, 0];
    class Slow extends MemoryDriver {
      override async clone(source: StoredRef, target: NewDisk): Promise<Lineage> {
        insideMax = Math.max(insideMax, ++inside);
        await new Promise((resolve) => setTimeout(resolve, 5));
        inside -= 1;
        return super.clone(source, target);
      }
    }
    const driver = new LimitedDriver(new Slow(), new Limits({ concurrencyMax: 2, bytesPerSecondMax: 0 }));
    const source = await putNew(driver, dense(MiB, 1));
    await Promise.all(Array.from({ length: 10 }, () => driver.clone(source, newDisk(MiB))));
    assert.equal(insideMax, 2);
    await rejectsWith("cancelled", () => driver.clone(source, newDisk(MiB), cancelled));
  });

  it("lets only so many bytes pass per second, both ways together", async () => {
    const driver = new LimitedDriver(new MemoryDriver(), new Limits({ concurrencyMax: 1, bytesPerSecondMax: 20 * MiB }));
    const startedMs = performance.now();
    const disk = newDisk(3 * MiB);
    await put(driver, disk, dense(3 * MiB, 1));
    await get(driver, disk);
    const seconds = (performance.now() - startedMs) / 1000;
    assert.ok(seconds > 0.2, `6 MiB took ${seconds} s`);
  });

  it("ends the wait for bytes when it is cancelled", async () => {
    const driver = new LimitedDriver(new MemoryDriver(), new Limits({ concurrencyMax: 1, bytesPerSecondMax: KiB }));
    const writer = await driver.receive(newDisk(MiB), { signal: AbortSignal.timeout(30) });
    await writer.write(dense(64 * KiB, 1), 0);
    await rejectsWith("cancelled", () => writer.write(dense(64 * KiB, 1), 64 * KiB));
    await writer.abort();
  });
});

describe("LoggedDriver", () => {
  it("notes each call with its disk, its time and its end", async () => {
    const lines: { level: string; event: string; call?: string; disk?: string; code?: string }[] = [];
    const driver = new LoggedDriver(new MemoryDriver(), recorder(lines));
    const disk = await putNew(driver, dense(MiB, 1));
    await get(driver, disk);
    const missing = newDisk(MiB);
    await assert.rejects(driver.clone(missing, newDisk(MiB)));
    const done = lines.filter(({ event }) => event === "storage call done").map(({ level, call }) => `${level} ${call}`);
    assert.deepEqual(done, ["info receive", "info finish", "debug stat", "debug read"]);
    const failed = lines.find(({ event }) => event === "storage call failed");
    assert.deepEqual([failed?.level, failed?.call, failed?.code], ["warn", "clone", "disk_not_found"]);
    assert.ok(lines.every(({ disk: named }) => named !== undefined));
  });
});

describe("FaultyDriver", () => {
  it("fails as often as it is told, the same way for the same seed", async () => {
    const outcomes = async () => {
      const driver = faulty(0.5);
      const results = await Promise.allSettled(Array.from({ length: 40 }, () => driver.capacity()));
      return results.map(({ status }) => status).join();
    };
    const first = await outcomes();
    assert.equal(await outcomes(), first);
    assert.ok(first.includes("fulfilled") && first.includes("rejected"));
  });

  it("leaves nothing of a disk whose finish failed", async () => {
    const driver = new FaultyDriver(new MemoryDriver(), { random: () => 0, rate: 1, spare: ["receive", "write", "stat", "list"] });
    const disk = newDisk(MiB);
    await rejectsWith("pool_unavailable", () => put(driver, disk, dense(MiB, 1)));
    assert.deepEqual(await listed(driver), []);
  });
});

/** Faults from one seed. What a writer can't take back is spared. */
function faulty(rate: number, inner: StorageDriver = new MemoryDriver()): FaultyDriver {
  let state = 42;
  const random = () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32;
  return new FaultyDriver(inner, { random, rate, spare: ["finish"] });
}

function recorder(lines: object[]): Log {
  const at = (level: string) => (fields: object, event: string) => void lines.push({ ...fields, level, event });
  return { debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error"), child: () => recorder(lines) };
}
