import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { diskId } from "#/domain/ids.ts";
import { MiB } from "#/lib/units.ts";
import { attachVolume } from "#/saga/attach-volume.ts";
import { createSnapshot } from "#/saga/create-snapshot.ts";
import { flattenInBackground } from "#/saga/flatten-disk.ts";
import { powerServer } from "#/saga/power-server.ts";
import { type Attachment, assertAttached, reserve } from "../../test/support/attachments.ts";
import { ServerWorld } from "../../test/support/server-world.ts";

async function snapshot(world: ServerWorld, { volumeId }: Attachment) {
  const { sagas, db } = world;
  const snapshotId = await sagas.addSnapshot(volumeId);
  const meta = { projectId: null, userId: null, requestId: null, subject: { kind: "snapshot", id: snapshotId } };
  return { snapshotId, ended: await sagas.runner.run(await sagas.runner.begin(db, createSnapshot, { snapshotId }, meta)) };
}

/** The file that the guest has open must be the one that its records name. */
async function assertWritesToItsVolume(world: ServerWorld, { serverId, volumeId }: Attachment): Promise<void> {
  const { pools } = world.sagas.services;
  const disk = await world.db.selectFrom("disk").selectAll().where("id", "=", volumeId).executeTakeFirstOrThrow();
  const pool = [...pools].find(({ name }) => name === disk.pool);
  const now = await pool?.open({ id: diskId(volumeId), format: "raw", virtualSizeBytes: MiB }, "write");
  assert.deepEqual(world.host.get(serverId).live?.find(({ target }) => target === "vdb")?.node, now);
}

describe("a disk of files that a guest has open", () => {
  it("is not frozen under the guest, which would write to the snapshot; once it is stopped it is", async () => {
    await using world = await ServerWorld.open();
    const attached = await reserve(world);
    assert.equal((await world.run(attachVolume, attached)).state, "done");
    const { ended } = await snapshot(world, attached);
    assert.deepEqual([ended.state, ended.error_code], ["undone", "conflict"]);
    await assertWritesToItsVolume(world, attached);
    assert.equal((await world.run(powerServer, { serverId: attached.serverId, action: "os-stop" })).state, "done");
    assert.equal((await snapshot(world, attached)).ended.state, "done");
    assert.equal((await world.run(powerServer, { serverId: attached.serverId, action: "os-start" })).state, "done");
    await assertWritesToItsVolume(world, attached);
  });

  it("is not made independent under the guest, and no longer once the guest comes", async () => {
    await using world = await ServerWorld.open();
    const attached = await reserve(world);
    const before = await world.sagas.content(attached.volumeId, MiB);
    const power = (action: "os-stop" | "os-start") => world.run(powerServer, { serverId: attached.serverId, action });
    await power("os-stop");
    const { snapshotId, ended } = await snapshot(world, attached);
    assert.equal(ended.state, "done");
    await power("os-start");
    await flattenInBackground(world.sagas.context({}), diskId(attached.volumeId));
    assert.equal((await world.run(attachVolume, attached)).state, "done");
    await assertWritesToItsVolume(world, attached);
    await flattenInBackground(world.sagas.context({}), diskId(attached.volumeId));
    await world.sagas.settle();
    await assertWritesToItsVolume(world, attached);
    for (const id of [attached.volumeId, snapshotId]) assert.ok((await world.sagas.content(id, MiB)).equals(before));
    await assertAttached(world, attached);
  });
});
