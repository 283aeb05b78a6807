import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { describe, it } from "node:test";
import { fileNode } from "#/domain/block-node.ts";
import { MiB } from "#/lib/units.ts";
import { createSnapshot } from "#/saga/create-snapshot.ts";
import { MemoryJournal } from "#/saga/engine/contract.ts";
import { runSaga } from "#/saga/engine/saga.ts";
import { captureFolder, makeCaptureFolder, makeMirror } from "#/vm/capture-folder.ts";
import { someContent } from "../../../test/support/saga-world.ts";
import { ServerWorld } from "../../../test/support/server-world.ts";
import type { FindingKind } from "./finding.ts";

const SIZE_BYTES = 2 * MiB;

/** A running server, and a snapshot that was taken for an image. */
async function healthy() {
  const world = await ServerWorld.open();
  const serverId = await world.addRunning(someContent(), SIZE_BYTES);
  const imageId = await world.sagas.addImage(someContent());
  const snapshotId = await world.sagas.addSnapshot(await world.sagas.addVolume({}, someContent()));
  await runSaga(createSnapshot, world.sagas.context({ snapshotId }), new MemoryJournal());
  await world.db.updateTable("snapshot").set({ image_id: imageId }).where("id", "=", snapshotId).execute();
  const folder = captureFolder(world.sagas.services.limits.servers.dir, serverId);
  return { world, serverId, snapshotId, folder };
}
type Healthy = Awaited<ReturnType<typeof healthy>>;

const CASES: readonly [name: string, harm: (healthy: Healthy) => Promise<unknown>, kinds: FindingKind[]][] = [
  ["views that are open in a guest", openViews, ["open_view", "orphan_bytes"]],
  ["a disk that is being mirrored", beginMirror, ["open_view", "orphan_bytes"]],
  ["the folder of a capture", ({ folder }) => mkdir(folder, { recursive: true }), ["orphan_bytes"]],
  ["a snapshot of an image that is gone", ({ world, snapshotId }) => world.db.updateTable("snapshot").set({ image_id: "gone" }).where("id", "=", snapshotId).execute(), ["orphan_snapshot"]],
];

async function openViews({ world, serverId, folder }: Healthy): Promise<void> {
  await makeCaptureFolder(folder);
  await world.sagas.services.hypervisor.beginBackup(serverId, { name: "left", folder, disks: [{ target: "vda" }] });
}

async function beginMirror({ world, serverId, folder }: Healthy): Promise<void> {
  await makeCaptureFolder(folder);
  const node = fileNode(`${folder}/vda.mirror`, "raw");
  await makeMirror(folder, "vda", { live: node, virtualSizeBytes: SIZE_BYTES });
  await world.sagas.services.hypervisor.mirrorDisk(serverId, "vda", node, { shallow: false });
}

describe("auditCaptures()", () => {
  for (const [name, harm, kinds] of CASES) {
    it(`finds ${name}, unless an operation works on the server`, async () => {
      const around = await healthy();
      await using world = around.world;
      await world.sagas.assertAuditClean();
      await harm(around);
      const findings = await world.sagas.audit();
      assert.deepEqual(findings.map(({ kind }) => kind).sort(), kinds);
      await world.db.updateTable("operation").set({ ended_at: null, state: "running" }).where("subject_id", "=", around.serverId).execute();
      const working = await world.sagas.audit();
      assert.deepEqual(working.map(({ kind }) => kind), kinds.filter((kind) => kind === "orphan_snapshot"));
    });
  }
});
