import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { insertDisk, poolUsage } from "#/db/disks.ts";
import { diskId, poolName } from "#/domain/ids.ts";
import { MiB } from "#/lib/units.ts";
import { MemoryDriver } from "#/storage/memory/driver.ts";
import { SagaWorld } from "../../test/support/saga-world.ts";
import { firstReservation, ReservationAhead } from "./reservation-ahead.ts";

const POOL = poolName("fast");
const DISK = diskId("22222222-2222-4222-8222-222222222222");

const BLOCK = Buffer.alloc(MiB, 1);

/** What is reserved, in MiB, before each MiB of a stream is written. */
async function reservedAlong(sizeMib: number, sizeBytes: number | null, capacityBytes: number): Promise<number[]> {
  await using world = await SagaWorld.open({ driver: new MemoryDriver({ capacityBytes }) });
  const disk = { id: DISK, pool: POOL, format: "raw", virtualSizeBytes: 0, holder: { kind: "image", id: "i" } } as const;
  const reservedBytes = firstReservation(sizeBytes);
  await insertDisk(world.db, disk, { reservedBytes, nowMs: 0 });
  const reservation = new ReservationAhead(world.services, disk, sizeBytes);
  const writer = await world.services.pools.get(POOL).receive(disk);
  const along: number[] = [];
  for (let mib = 1; mib <= sizeMib; mib++) {
    await reservation.reach(mib * MiB, MiB);
    along.push((await poolUsage(world.db, POOL)).reservedBytes / MiB);
    await writer.write(BLOCK, (mib - 1) * MiB);
  }
  await writer.finish(sizeMib * MiB);
  return along;
}

describe("ReservationAhead", () => {
  it("promises twice as much each time to a stream of unknown length, and takes back what is written", async () => {
    assert.deepEqual(await reservedAlong(8, null, 64 * MiB), [1, 2, 2, 4, 4, 4, 4, 8]);
  });

  it("leaves a known length as it is, but for what is written in large steps", async () => {
    const along = await reservedAlong(300, 300 * MiB, 320 * MiB);
    assert.deepEqual([along[0], along[254], along[255], along[299]], [300, 300, 45, 45]);
  });

  it("promises less where the pool has no more, and so fills it to the end", async () => {
    const along = await reservedAlong(16, null, 16 * MiB);
    assert.equal(along.length, 16);
  });

  it("refuses what the pool cannot hold", async () => {
    await assert.rejects(reservedAlong(17, null, 16 * MiB), { code: "pool_full" });
  });
});
