import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { devicesOf } from "#/db/block-devices.ts";
import { findVolume, updateVolume } from "#/db/volumes.ts";
import { ComputeWorld } from "./test-world.ts";

async function act(world: ComputeWorld, id: string, body: object, status = 202) {
  const answer = await world.expect(status, "POST", `/servers/${id}/action`, { body });
  await world.base.settle();
  return answer;
}

async function statusOf(world: ComputeWorld, id: string): Promise<string> {
  const { server } = await world.expect(200, "GET", `/servers/${id}`);
  assert.equal(server["OS-EXT-STS:task_state"], null, JSON.stringify(server.fault));
  return server.status;
}

describe("servers are changed in depth:", () => {
  it("rebuilt from another image, with another name and key, their id and volumes stay", async () => {
    await using world = await ComputeWorld.open();
    const id = await world.makeServer();
    const imageRef = await world.base.makeImage();
    await act(world, id, { rebuild: { imageRef, name: "two", metadata: { a: "b" } } });
    const { server } = await world.expect(200, "GET", `/servers/${id}`);
    assert.deepEqual([server.status, server.name, server.image.id, server.metadata], ["ACTIVE", "two", imageRef, { a: "b" }]);
    await act(world, id, { rebuild: { imageRef: "00000000-0000-0000-0000-000000000000" } }, 400);
    await act(world, id, { rebuild: { imageRef, wings: 2 } }, 400);
    await act(world, id, { rebuild: { imageRef, user_data: "abc" } }, 400);
    await act(world, id, { rebuild: { imageRef, metadata: Object.fromEntries(Array.from({ length: 129 }, (_, index) => [`k${index}`, "v"])) } }, 403);
    const { server: rebuilt } = await act(world, id, { rebuild: { imageRef, user_data: "aGVsbG8=" } });
    assert.deepEqual([rebuilt.id, rebuilt.user_data], [id, "aGVsbG8="]);
    await world.refusal(400, "POST", `/servers/${id}/action`, { minor: 56, body: { rebuild: { imageRef, user_data: "aGVsbG8=" } } });
    await world.base.assertAuditClean();
  });

  it("rebuilt with the volume that they boot from, which keeps its id, unless something is being done to it", async () => {
    await using world = await ComputeWorld.open();
    const { db } = world.base.context;
    const [first, imageRef] = [await world.base.makeImage(), await world.base.makeImage()];
    const root = { boot_index: 0, source_type: "image", uuid: first, destination_type: "volume", volume_size: 1, delete_on_termination: true };
    const id = await world.makeServer({ imageRef: "", block_device_mapping_v2: [root] });
    const [device] = await devicesOf(db, id);
    const volumeId = device?.volume_id ?? "";
    const before = await findVolume(db, volumeId);
    await updateVolume(db, volumeId, { status: "uploading" });
    await act(world, id, { rebuild: { imageRef } }, 409);
    await updateVolume(db, volumeId, { status: "in-use" });
    await act(world, id, { rebuild: { imageRef } });
    assert.equal(await statusOf(world, id), "ACTIVE");
    const after = await findVolume(db, volumeId);
    assert.equal(after?.status, "in-use");
    assert.notEqual(after?.disk_id, before?.disk_id);
  });

  it("resized, confirmed, and reverted; the quota follows", async () => {
    await using world = await ComputeWorld.open();
    const id = await world.makeServer();
    const ramUsed = async () => (await world.expect(200, "GET", "/limits")).limits.absolute.totalRAMUsed;
    const before = await ramUsed();
    await act(world, id, { resize: { flavorRef: "1" } });
    assert.equal(await statusOf(world, id), "VERIFY_RESIZE");
    assert.ok((await ramUsed()) > before);
    await act(world, id, { revertResize: null });
    assert.deepEqual([await statusOf(world, id), await ramUsed()], ["ACTIVE", before]);
    await act(world, id, { resize: { flavorRef: "1" } });
    await act(world, id, { confirmResize: null }, 204);
    assert.equal(await statusOf(world, id), "ACTIVE");
    assert.match((await act(world, id, { resize: { flavorRef: "1" } }, 400)).badRequest.message, /must change flavor/);
    await act(world, id, { confirmResize: null }, 409);
    await world.base.assertAuditClean();
  });

  it("rescued and brought back", async () => {
    await using world = await ComputeWorld.open();
    const id = await world.makeServer();
    await act(world, id, { rescue: null }, 200);
    assert.equal(await statusOf(world, id), "RESCUE");
    await act(world, id, { rescue: null }, 409);
    await act(world, id, { unrescue: null });
    assert.equal(await statusOf(world, id), "ACTIVE");
    await world.base.assertAuditClean();
  });

  it("with all that was asked for in their history, and how it ended", async () => {
    await using world = await ComputeWorld.open();
    const id = await world.makeServer();
    const imageRef = await world.base.makeImage();
    const asked: readonly [string, unknown, number][] = [
      ["resize", { flavorRef: "1" }, 202],
      ["revertResize", null, 202],
      ["resize", { flavorRef: "1" }, 202],
      ["confirmResize", null, 204],
      ["rebuild", { imageRef }, 202],
      ["rescue", null, 200],
      ["unrescue", null, 202],
      ["lock", null, 202],
      ["unlock", null, 202],
      ["shelve", null, 202],
      ["unshelve", null, 202],
    ];
    for (const [action, argument, status] of asked) await act(world, id, { [action]: argument }, status);
    await world.expect(204, "DELETE", `/servers/${id}`);
    await world.base.settle();
    const { instanceActions } = await world.expect(200, "GET", `/servers/${id}/os-instance-actions`);
    const results = await Promise.all(
      instanceActions.map(async ({ action, request_id }: Record<string, string>) => {
        const { instanceAction } = await world.expect(200, "GET", `/servers/${id}/os-instance-actions/${request_id}`);
        return `${action}: ${instanceAction.events[0].result}`;
      }),
    );
    const wanted = ["create", ...asked.map(([action]) => action), "delete"].map((action) => `${action}: Success`);
    const byName = (a: string, b: string): number => a.localeCompare(b);
    assert.deepEqual(results.toSorted(byName), wanted.toSorted(byName));
  });
});
