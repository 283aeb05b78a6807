import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { updateVolume } from "#/db/volumes.ts";
import { attachVolume } from "#/saga/attach-volume.ts";
import { powerServer } from "#/saga/power-server.ts";
import { type Attachment, assertAttached, reserve } from "../../../test/support/attachments.ts";
import { ServerWorld } from "../../../test/support/server-world.ts";
import type { FindingKind } from "./finding.ts";
import { auditServers } from "./servers.ts";

type Harm = (world: ServerWorld, attached: Attachment) => Promise<unknown>;

/** What people then do by the advice must not cost them what is there. */
const CASES: readonly [name: string, harm: Harm, kind: FindingKind, subject: RegExp][] = [
  ["a guest that the hypervisor has lost", loseGuest, "lost_guest", /^server /],
  ["a volume that is said to be free, and is a server's", (world, { volumeId }) => updateVolume(world.db, volumeId, { status: "error" }), "wrong_status", /^device vdb /],
  ["a volume that is said to be a server's, and is free", (world, { deviceId }) => world.db.deleteFrom("block_device").where("id", "=", deviceId).execute(), "wrong_status", /^attachment of volume /],
  ["a device whose volume is gone", (world, { volumeId }) => world.db.deleteFrom("volume").where("id", "=", volumeId).execute(), "dangling_record", /^device vdb /],
  ["a task that nobody works on", (world, { serverId }) => world.db.updateTable("server").set({ task_state: "rebooting" }).where("id", "=", serverId).execute(), "unfinished", /^server /],
];

async function loseGuest({ sagas }: ServerWorld, { serverId }: Attachment): Promise<void> {
  await sagas.services.hypervisor.destroy(serverId);
  await sagas.services.hypervisor.undefine(serverId);
}

describe("auditServers()", () => {
  for (const [name, harm, kind, subject] of CASES) {
    it(`finds ${name}, and says what to do`, async () => {
      await using world = await ServerWorld.open();
      const attached = await reserve(world);
      assert.equal((await world.run(attachVolume, attached)).state, "done");
      const found = () => auditServers(world.db, world.sagas.services.hypervisor);
      assert.deepEqual(await found(), []);
      await harm(world, attached);
      const findings = await found();
      assert.deepEqual(findings.map((finding) => finding.kind), [kind]);
      assert.match(findings[0]?.subject ?? "", subject);
    });
  }

  it("is content again once a server whose guest was lost is rebooted hard", async () => {
    await using world = await ServerWorld.open();
    const attached = await reserve(world);
    await world.run(attachVolume, attached);
    await loseGuest(world, attached);
    assert.equal((await world.run(powerServer, { serverId: attached.serverId, action: "hardReboot" })).state, "done");
    assert.deepEqual(await auditServers(world.db, world.sagas.services.hypervisor), []);
    await assertAttached(world, attached);
  });
});
