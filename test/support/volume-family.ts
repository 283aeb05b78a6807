import { createSnapshot } from "#/saga/create-snapshot.ts";
import { createVolume } from "#/saga/create-volume.ts";
import { MemoryJournal } from "#/saga/engine/contract.ts";
import { runSaga } from "#/saga/engine/saga.ts";
import { flattenDisk } from "#/saga/flatten-disk.ts";
import { SagaWorld } from "./saga-world.ts";

/** A volume with a snapshot, and a second volume that is a clone of that snapshot. */
export async function volumeFamily(clone: "dependent" | "independent", content: Buffer) {
  const world = await SagaWorld.open({ clone, sagas: [createVolume, createSnapshot, flattenDisk] });
  const volumeId = await world.addVolume({}, content);
  const snapshotId = await world.addSnapshot(volumeId);
  await runSaga(createSnapshot, world.context({ snapshotId }), new MemoryJournal());
  const plan = await world.planVolume({ kind: "snapshot", id: snapshotId }, content.length);
  const cloneId = await world.addVolume();
  await runSaga(createVolume, world.context({ volumeId: cloneId }, plan), new MemoryJournal());
  return { world, volumeId, snapshotId, cloneId };
}

