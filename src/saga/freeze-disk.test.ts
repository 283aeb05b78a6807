import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { describe, it } from "node:test";
import { findDisk } from "#/db/disks.ts";
import { AppError } from "#/domain/errors.ts";
import { diskId } from "#/domain/ids.ts";
import { MiB } from "#/lib/units.ts";
import { createVolume } from "#/saga/create-volume.ts";
import { MemoryJournal } from "#/saga/engine/contract.ts";
import { runSaga } from "#/saga/engine/saga.ts";
import { flattenDisk } from "#/saga/flatten-disk.ts";
import { freezeDisk, prepareFreeze, unfreezeDisk } from "#/saga/freeze-disk.ts";
import type { Lineage, NewDisk, StoredRef } from "#/storage/driver.ts";
import { MemoryDriver } from "#/storage/memory/driver.ts";
import { SagaWorld, someContent } from "../../test/support/saga-world.ts";

const content = someContent();

/** Its snapshots fail: before anything has happened, or, as a lost answer, when all has. */
class Failing extends MemoryDriver {
  readonly #when: "before" | "after";

  constructor(when: "before" | "after") {
    super({ clone: "dependent" });
    this.#when = when;
  }

  override async snapshot(source: StoredRef, target: NewDisk): Promise<Lineage> {
    if (this.#when === "after") await super.snapshot(source, target);
    throw new AppError("pool_full", "no room for the overlay");
  }
}

describe("freezeDisk()", () => {
  it("leaves the volume whole, and nothing else, when the storage cannot freeze it", async () => {
    await using world = await SagaWorld.open({ driver: new Failing("before") });
    const source = await world.addVolume({}, content);
    const plan = await world.planVolume({ kind: "volume", id: source }, MiB);
    const volumeId = await world.addVolume();
    const outcome = await runSaga(createVolume, world.context({ volumeId }, plan), new MemoryJournal());
    assert.equal(outcome.ended, "undone");
    assert.deepEqual(await world.content(source, MiB), content);
    const disks = await world.db.selectFrom("disk").select(["id", "parent_id"]).execute();
    assert.deepEqual(disks.map(({ id, parent_id }) => ({ id, parent_id })), [{ id: source, parent_id: null }]);
    await world.assertAuditClean();
  });

  for (const clone of ["dependent", "independent"] as const) {
    it(`that was prepared is taken back, and leaves nothing, or takes place (${clone} clones)`, async () => {
      await using world = await SagaWorld.open({ driver: new MemoryDriver({ clone }) });
      const source = diskId(await world.addVolume({}, content));
      const frozen = diskId(randomUUID());
      const holder = { kind: "ancestor", id: frozen } as const;
      await prepareFreeze(world.services, source, frozen, holder);
      await unfreezeDisk(world.services, source, frozen);
      assert.deepEqual([await findDisk(world.db, frozen), (await findDisk(world.db, source))?.parent], [undefined, undefined]);
      await world.assertAuditClean();
      for (const freeze of [prepareFreeze, prepareFreeze, freezeDisk, freezeDisk]) await freeze(world.services, source, frozen, holder);
      assert.equal((await findDisk(world.db, frozen))?.state, "ready");
      for (const id of [source, frozen]) assert.deepEqual(await world.content(id, MiB), content);
    });
  }

  it("that was prepared knows who reads through whom, also where the disk was flattened before it took place", async () => {
    await using world = await SagaWorld.open({ driver: new MemoryDriver({ clone: "dependent" }) });
    const source = diskId(await world.addVolume({}, content));
    const [below, frozen] = [diskId(randomUUID()), diskId(randomUUID())];
    await freezeDisk(world.services, source, below, { kind: "ancestor", id: below });
    const holder = { kind: "image", id: frozen } as const;
    await prepareFreeze(world.services, source, frozen, holder);
    assert.equal((await runSaga(flattenDisk, world.context({ diskId: source }), new MemoryJournal())).ended, "done");
    await freezeDisk(world.services, source, frozen, holder);
    assert.deepEqual([(await findDisk(world.db, source))?.parent, (await findDisk(world.db, frozen))?.parent], [frozen, undefined]);
    for (const id of [source, frozen]) assert.deepEqual(await world.content(id, MiB), content);
  });

  it("keeps the bytes that the volume stands on when the storage had frozen it, and its answer was lost", async () => {
    await using world = await SagaWorld.open({ driver: new Failing("after") });
    const source = diskId(await world.addVolume({}, content));
    const frozen = diskId(randomUUID());
    await assert.rejects(freezeDisk(world.services, source, frozen, { kind: "ancestor", id: frozen }), /no room/);
    await assert.rejects(unfreezeDisk(world.services, source, frozen), /no room/, "finishing the freeze asks the storage again");
    assert.equal((await findDisk(world.db, source))?.parent, frozen);
    assert.deepEqual(await world.content(source, MiB), content);
  });
});
