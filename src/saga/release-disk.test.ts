import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { AppError } from "#/domain/errors.ts";
import { type DiskId, diskId, poolName } from "#/domain/ids.ts";
import { MiB } from "#/lib/units.ts";
import { createVolume } from "#/saga/create-volume.ts";
import { deleteImage } from "#/saga/delete-image.ts";
import { deleteVolume } from "#/saga/delete-volume.ts";
import { dropDisk } from "#/saga/drop-disk.ts";
import { MemoryJournal } from "#/saga/engine/contract.ts";
import { runSaga } from "#/saga/engine/saga.ts";
import { flattenDisk } from "#/saga/flatten-disk.ts";
import { forgetImage } from "#/saga/forget-image.ts";
import { discardTarget, fillTarget, recordTarget } from "#/saga/materialise.ts";
import { MemoryDriver } from "#/storage/memory/driver.ts";
import { SagaWorld, someContent } from "../../test/support/saga-world.ts";

/** The first time that a disk is deleted its process ends, before the bytes are gone or after that. */
class Failing extends MemoryDriver {
  readonly #doomed: DiskId[] = [];
  readonly #when: "before" | "after";

  constructor(when: "before" | "after") {
    super({ clone: "dependent" });
    this.#when = when;
  }

  failAt(...ids: readonly DiskId[]): void {
    this.#doomed.push(...ids);
  }

  override async delete(id: DiskId): Promise<void> {
    const isNow = this.#doomed.includes(id);
    if (isNow) this.#doomed.splice(this.#doomed.indexOf(id), 1);
    if (!isNow || this.#when === "after") await super.delete(id);
    if (isNow) throw new AppError("tool_failed", "the end");
  }
}

const content = someContent();
const scope = { signal: new AbortController().signal, progress() {} };

/** A volume that reads through the disk of an image that is gone. */
async function orphan(when: "before" | "after") {
  const driver = new Failing(when);
  const world = await SagaWorld.open({ driver, sagas: [createVolume, deleteImage, deleteVolume, flattenDisk] });
  const imageId = await world.addImage(content);
  const plan = await world.planVolume({ kind: "image", id: imageId }, content.length);
  const volumeId = await world.addVolume();
  await runSaga(createVolume, world.context({ volumeId }, plan), new MemoryJournal());
  await dropImage(world, imageId);
  const disk = await world.db.selectFrom("disk").selectAll().where("holder_id", "=", volumeId).executeTakeFirstOrThrow();
  assert.equal(disk.parent_id, imageId);
  return { world, driver, volumeId, disk: diskId(disk.id), ancestor: diskId(imageId) };
}

async function dropImage(world: SagaWorld, imageId: string): Promise<void> {
  await world.db.transaction().execute((trx) => forgetImage(trx, imageId));
  await runSaga(deleteImage, world.context({ imageId, diskId: imageId }), new MemoryJournal());
}

async function disksIn(world: SagaWorld): Promise<string[]> {
  return (await world.db.selectFrom("disk").select("id").execute()).map(({ id }) => id);
}

for (const when of ["before", "after"] as const) {
  describe(`what only one disk read through goes with it, also where the process ends ${when} it is gone`, () => {
    it("when its volume is deleted", async () => {
      const { world, driver, volumeId, ancestor } = await orphan(when);
      await using _ = world;
      driver.failAt(ancestor);
      for (let times = 0; times < 2; times++) await runSaga(deleteVolume, world.context({ volumeId, cascade: false }), new MemoryJournal());
      assert.deepEqual(await disksIn(world), []);
      await world.assertAuditClean();
    });

    it("when it is flattened", async () => {
      const { world, driver, disk, ancestor } = await orphan(when);
      await using _ = world;
      driver.failAt(ancestor);
      for (let times = 0; times < 2; times++) await runSaga(flattenDisk, world.context({ diskId: disk }), new MemoryJournal());
      assert.deepEqual(await disksIn(world), [disk]);
      await world.assertAuditClean();
      assert.deepEqual(await world.content(disk, MiB), content);
    });

    for (const [doing, ends] of [["filled", fillTarget], ["given up", discardTarget]] as const) {
      it(`when a disk that was being made of it is ${doing}`, async () => {
        const driver = new Failing(when);
        await using world = await SagaWorld.open({ driver, sagas: [deleteImage, dropDisk] });
        const imageId = await world.addImage(content);
        const id = diskId(await world.addVolume());
        const target = { id, pool: poolName("fast"), format: "raw", virtualSizeBytes: content.length, holder: { kind: "volume", id } } as const;
        const making = { strategy: "offload_copy", source: diskId(imageId), target } as const;
        await recordTarget(world.services, making);
        await dropImage(world, imageId);
        driver.failAt(diskId(imageId));
        for (let times = 0; times < 2; times++) await (ends === fillTarget ? fillTarget(world.context({}), making, scope) : discardTarget(world.services, target)).catch(() => {});
        await world.settle();
        assert.deepEqual(await disksIn(world), ends === fillTarget ? [id] : []);
      });
    }
  });
}

it("what others read through by now stays where whoever made it is taken back after all", async () => {
  const { world, volumeId, disk, ancestor } = await orphan("before");
  await using _ = world;
  await discardTarget(world.services, { id: ancestor });
  assert.deepEqual((await disksIn(world)).toSorted(), [disk, ancestor].toSorted());
  assert.deepEqual(await world.content(disk, MiB), content);
  await runSaga(deleteVolume, world.context({ volumeId, cascade: false }), new MemoryJournal());
  assert.deepEqual(await disksIn(world), []);
  await world.assertAuditClean();
});
