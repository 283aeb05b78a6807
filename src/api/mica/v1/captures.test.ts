import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Session } from "#/api/test-server.ts";
import { ComputeWorld } from "#/api/compute/v2/test-world.ts";
import type { ConfigChanges } from "#/api/volume/v3/test-world.ts";
import { removeImage, updateImage } from "#/db/images.ts";
import { mountMica } from "./test-world.ts";

async function open(changes: ConfigChanges = {}) {
  const world = await ComputeWorld.open(changes, mountMica);
  // biome-ignore lint/suspicious/noExplicitAny: tests look into bodies of every shape.
  const ask = async (status: number, path: string, { body, as = world.alice }: { body?: object; as?: Session } = {}): Promise<any> => {
    const answer = await world.base.server.request(body ? "POST" : "GET", `/mica/v1${path}`, { token: as.token, ...(body && { body }) });
    assert.equal(answer.statusCode, status, `${path}: ${answer.body}`);
    return answer.json();
  };
  const explain = async (id: string) => (await ask(200, `/servers/${id}/captures`)).captures;
  return { world, ask, explain, [Symbol.asyncDispose]: () => world[Symbol.asyncDispose]() };
}

const act = (world: ComputeWorld, id: string, body: object) => world.expect(202, "POST", `/servers/${id}/action`, { body });

/** A server with a volume, `vdb`. */
async function withVolume(world: ComputeWorld, properties: Record<string, string> = {}): Promise<{ id: string; volumeId: string }> {
  const id = await world.makeServer({ imageRef: await world.base.makeImage({ properties }) });
  const { volume } = await world.base.expect(202, "POST", "/volumes", { body: { volume: { size: 1 } } });
  await world.base.settle();
  await world.expect(202, "POST", `/servers/${id}/os-volume_attachments`, { body: { volumeAttachment: { volumeId: volume.id } } });
  await world.base.settle();
  return { id, volumeId: volume.id };
}

type Way = Record<"method" | "guest", string> & { consistency: { level: string }; last: Record<string, unknown> | null; bytes: { temporary: number } };

describe("GET /mica/v1/servers/ID/captures", () => {
  it("names every way that is open, best first, and what is against the others", async () => {
    await using opened = await open();
    const { id } = await withVolume(opened.world, { hw_qemu_guest_agent: "yes" });
    const { server, guest, calls } = await opened.explain(id);
    assert.deepEqual([server.status, guest.state, guest.hasAgent, guest.agentConnected], ["ACTIVE", "running", true, true]);
    const [image, all, raw, qcow2] = calls;
    assert.deepEqual([all.allDisks, all.disks, all.ways[0].methods], [true, ["vda", "vdb"], { vda: "backup_job", vdb: "backup_job" }]);
    assert.deepEqual([image.call, image.becomes, image.disks, image.refusal], ["createImage", "qcow2", ["vda"], null]);
    assert.deepEqual(image.ways.map(({ method, guest: effect, consistency }: Way) => [method, effect, consistency.level]), [
      ["backup_job", "frozen", "filesystem"],
      ["live_mirror", "frozen", "filesystem"],
      ["cold", "stopped", "crash"],
    ]);
    assert.deepEqual(image.closed.map(({ method }: Way) => method), ["at_rest", "pool_snapshot"]);
    assert.match(image.closed[1].because, /clones are overlays/);
    assert.ok(image.ways[1].bytes.temporary > 0, "a mirror is a temporary file");
    assert.deepEqual([raw, qcow2].map(({ call, becomes, refusal, ways }) => [call, becomes, /enableForceUpload is off/.test(refusal), ways]), [
      ["uploadToImage", "raw", true, []],
      ["uploadToImage", "qcow2", true, []],
    ]);
  });

  it("shows what the last of each really took", async () => {
    await using opened = await open({ enableForceUpload: true });
    const { world } = opened;
    const { id, volumeId } = await withVolume(world);
    await act(world, id, { createImage: { name: "copy" } });
    await world.base.settle();
    const body = { "os-volume_upload_image": { image_name: "copy", disk_format: "qcow2", container_format: "bare", force: true } };
    await world.base.expect(202, "POST", `/volumes/${volumeId}/action`, { body });
    await world.base.settle();
    const [image, , raw, qcow2] = (await opened.explain(id)).calls;
    const lastOf = ({ ways }: { ways: Way[] }) => ways.map(({ method, last }) => [method, last?.["level"]]);
    assert.deepEqual(lastOf(image), [["backup_job", "crash"], ["live_mirror", undefined], ["cold", undefined]]);
    assert.deepEqual(lastOf(raw), [["backup_job", undefined], ["live_mirror", undefined]]);
    assert.deepEqual(lastOf(qcow2), [["backup_job", "crash"], ["live_mirror", undefined]]);
    const { operationId, durationMs, endedAt } = image.ways[0].last;
    const { operation } = await opened.ask(200, `/operations/${operationId}`);
    assert.deepEqual([operation.kind, operation.durationMs, operation.endedAt], ["capture-server", durationMs, endedAt]);
  });

  it("reads disks where they lie when the guest has shut down", async () => {
    await using opened = await open();
    const { id } = await withVolume(opened.world);
    await act(opened.world, id, { "os-stop": null });
    await opened.world.base.settle();
    const [image] = (await opened.explain(id)).calls;
    assert.deepEqual(image.ways.map(({ method, guest, consistency }: Way) => [method, guest, consistency.level]), [["at_rest", "none", "application"]]);
    assert.match(image.closed[0].because, /does not run/);
  });

  it("stands for snapshots of all volumes where the server boots from one", async () => {
    await using opened = await open();
    const root = { boot_index: 0, uuid: await opened.world.base.makeImage(), source_type: "image", destination_type: "volume", volume_size: 1 };
    const data = { boot_index: -1, source_type: "blank", destination_type: "volume", volume_size: 1 };
    const id = await opened.world.makeServer({ imageRef: "", block_device_mapping_v2: [root, data] });
    const { calls } = await opened.explain(id);
    assert.deepEqual(calls.map(({ call, becomes, disks }: Record<string, unknown>) => [call, becomes, disks]), [
      ["createImage", "snapshots", ["vda", "vdb"]],
      ["uploadToImage", "raw", ["vda"]],
      ["uploadToImage", "qcow2", ["vda"]],
      ["uploadToImage", "raw", ["vdb"]],
      ["uploadToImage", "qcow2", ["vdb"]],
    ]);
    assert.deepEqual(calls[0].ways[0].methods, { vda: "backup_job", vdb: "backup_job" });
  });

  it("knows the form that the image will have, also when the image that the server was made of is deleted", async () => {
    await using opened = await open();
    const { db } = opened.world.base.context;
    const base = await opened.world.base.makeImage();
    await updateImage(db, base, { disk_format: "ami", container_format: "ami" });
    const id = await opened.world.makeServer({ imageRef: base });
    const becomes = async () => (await opened.explain(id)).calls[0].becomes;
    assert.equal(await becomes(), "ami");
    await db.transaction().execute((trx) => removeImage(trx, base));
    assert.equal(await becomes(), "ami");
  });

  it("says why the call would be refused", async () => {
    await using opened = await open();
    const { id } = await withVolume(opened.world, { os_require_quiesce: "yes" });
    const [image] = (await opened.explain(id)).calls;
    assert.match(image.refusal, /os_require_quiesce/);
    assert.deepEqual(image.ways, []);
  });

  it("says why an upload of a volume would be refused, as the call does", async () => {
    await using opened = await open({ enableForceUpload: true });
    const { world } = opened;
    const { id, volumeId } = await withVolume(world, { os_require_quiesce: "yes" });
    const [, , raw] = (await opened.explain(id)).calls;
    assert.match(raw.refusal, /^Failed to quiesce instance: QEMU guest agent is not enabled/);
    assert.deepEqual(raw.ways, []);
    const upload = { image_name: "copy", disk_format: "raw", container_format: "bare", force: true };
    assert.equal(await world.base.refusal(409, "POST", `/volumes/${volumeId}/action`, { body: { "os-volume_upload_image": upload } }), raw.refusal);
    assert.equal(await world.base.refusal(409, "POST", "/snapshots", { body: { snapshot: { volume_id: volumeId, force: true } } }), raw.refusal);
    const { volume } = await world.base.expect(200, "GET", `/volumes/${volumeId}`);
    assert.equal(volume.status, "in-use");
  });

  it("is for members of the server's project", async () => {
    await using opened = await open();
    const id = await opened.world.makeServer();
    const stranger = await opened.world.base.server.login("eve", "elsewhere");
    await opened.ask(404, `/servers/${id}/captures`, { as: stranger });
    await opened.ask(200, `/servers/${id}/captures`, { as: opened.world.admin });
  });
});

describe("POST /mica/v1/plans", () => {
  it("plans an image of a server as createImage begins it, and makes none", async () => {
    await using opened = await open();
    const { world, ask } = opened;
    const id = await world.makeServer();
    const body = { source: { kind: "server", id }, target: { kind: "image" } };
    const { plan } = await ask(200, "/plans", { body });
    assert.deepEqual([plan.source.kind, plan.target.kind, plan.target.format, plan.capture.method], ["server", "image", "qcow2", "backup_job"]);
    const images = async () => (await world.base.context.db.selectFrom("image").select("id").execute()).length;
    const before = await images();
    await act(world, id, { createImage: { name: "copy" } });
    assert.equal(await images(), before + 1);
    await world.base.settle();
    const { operations } = await ask(200, `/operations?subject=${id}&limit=1`);
    assert.deepEqual([operations[0].plan.strategy, operations[0].plan.capture], [plan.strategy, plan.capture]);
  });

  it("refuses what createImage does not do", async () => {
    await using opened = await open();
    const id = await opened.world.makeServer();
    const source = { kind: "server", id };
    const volume = await opened.ask(400, "/plans", { body: { source, target: { kind: "volume" } } });
    assert.match(volume.error.message, /make an image of it/);
    const format = await opened.ask(400, "/plans", { body: { source, target: { kind: "image", diskFormat: "raw" } } });
    assert.match(format.error.message, /servers\.snapshotImageFormat/);
    await act(opened.world, id, { lock: null });
    await opened.world.base.context.db.updateTable("server").set({ task_state: "rebooting" }).execute();
    const busy = await opened.ask(409, "/plans", { body: { source, target: { kind: "image" } } });
    assert.match(busy.error.message, /Cannot 'createImage'/);
  });
});
