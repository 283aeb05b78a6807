import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { it } from "node:test";
import { insertDisk, poolUsage } from "#/db/disks.ts";
import { diskId, poolName } from "#/domain/ids.ts";
import { MiB } from "#/lib/units.ts";
import { reserveSpace } from "#/saga/reserve-space.ts";
import { SagaWorld } from "../../test/support/saga-world.ts";

const pool = poolName("fast");

/** Promises 40 of the pool's 64 MiB to a new disk, before a byte of it is written. */
async function promise40(world: SagaWorld): Promise<void> {
  const reservedBytes = 40 * MiB;
  await reserveSpace(world.services, { pool }, reservedBytes, async (trx) => {
    const id = diskId(randomUUID());
    await insertDisk(trx, { id, pool, format: "raw", virtualSizeBytes: MiB, holder: { kind: "volume", id } }, { reservedBytes, nowMs: 0 });
  });
}

it("reserveSpace() does not promise the same space twice, though none of it is written yet", async () => {
  await using world = await SagaWorld.open();
  const outcomes = await Promise.allSettled([promise40(world), promise40(world)]);
  assert.deepEqual(outcomes.map(({ status }) => status), ["fulfilled", "rejected"]);
  await assert.rejects(promise40(world), { code: "pool_full", message: /has 24 MiB free that are not promised to others, and 40 MiB are needed/ });
  assert.equal((await poolUsage(world.db, pool)).reservedBytes, 40 * MiB);
});
