/** Mica on a real Ceph: images in one Ceph pool, volumes in another, each with its own user. */
import assert from "node:assert/strict";
import { randomFillSync } from "node:crypto";
import { after, before, describe, it } from "node:test";
import { MiB } from "#/lib/units.ts";
import { matrixRun } from "../support/matrix-run.ts";
import { MicaProcess } from "../support/mica-process.ts";
import { sharedCeph } from "./support/ceph.ts";
import { type CephPlace, freshPools } from "./support/ceph-place.ts";

const ceph = await sharedCeph();
after(() => ceph[Symbol.asyncDispose]());

// Within one pool it makes no difference who has the others: matrix.test.ts shows that.
matrixRun("Ceph, with a user for each pool", {
  start: () => freshPools(ceph, { ownUsers: true }),
  targets: [{ kind: "rbd", pool: "volumes", from: { "another pool of the same place": ["images"] } }],
});

describe("on Ceph", () => {
  let place: CephPlace;
  let mica: MicaProcess;
  const content = randomFillSync(Buffer.alloc(32 * MiB));

  before(async () => {
    place = await freshPools(ceph, { ownUsers: false });
    mica = await MicaProcess.start(place);
  });
  after(() => mica?.[Symbol.asyncDispose]());

  const volume = async (id: string, by = mica) => (await by.json("GET", `/volume/v3/volumes/${id}`)).volume;

  async function createVolume(source: object, by = mica): Promise<string> {
    const { volume: requested } = await by.json("POST", "/volume/v3/volumes", { body: { volume: { size: 1, ...source } } });
    const made = await by.until(() => volume(requested.id, by), ({ status }) => status !== "creating");
    assert.equal(made.status, "available");
    return made.id;
  }

  async function uploadRaw(by = mica): Promise<string> {
    const { id } = await by.json("POST", "/image/v2/images", { body: { name: "raw", disk_format: "raw", container_format: "bare" } });
    const headers = { "content-type": "application/octet-stream", "x-image-meta-store": "images" };
    assert.equal((await by.ask("PUT", `/image/v2/images/${id}/file`, { body: content, headers })).status, 204);
    return id;
  }

  it("an image of a volume is a clone that can be used at once and stands alone soon, in another Ceph pool too", async () => {
    const id = await createVolume({ imageRef: await uploadRaw() });
    const action = { "os-volume_upload_image": { image_name: "captured", disk_format: "raw" } };
    const { "os-volume_upload_image": begun } = await mica.json("POST", `/volume/v3/volumes/${id}/action`, { body: action });
    await mica.until(() => mica.json("GET", `/image/v2/images/${begun.image_id}`), ({ status }) => status === "active");
    const response = await mica.ask("GET", `/image/v2/images/${begun.image_id}/file`);
    const captured = Buffer.from(await response.arrayBuffer());
    assert.ok(captured.subarray(0, content.length).equals(content));
    const operations = async () => (await mica.json("GET", `/mica/v1/operations?subject=${begun.image_id}`)).operations;
    await mica.until(operations, (all) => all.some(({ kind, state }: { kind: string; state: string }) => kind === "flatten-disk" && state === "done"));
    await mica.json("DELETE", `/volume/v3/volumes/${id}`, { status: 202 });
    await mica.until(async () => (await mica.ask("GET", `/volume/v3/volumes/${id}`)).status, (code) => code === 404);
  });

  it("a snapshot keeps its volume's bytes for the volumes made of it, also when the volume is gone", async () => {
    const id = await createVolume({ imageRef: await uploadRaw() });
    const { snapshot } = await mica.json("POST", "/volume/v3/snapshots", { body: { snapshot: { volume_id: id } } });
    const look = async () => (await mica.json("GET", `/volume/v3/snapshots/${snapshot.id}`)).snapshot;
    assert.equal((await mica.until(look, ({ status }) => status !== "creating")).status, "available");
    const restored = await createVolume({ snapshot_id: snapshot.id });
    await mica.json("DELETE", `/volume/v3/volumes/${id}?cascade=true`, { status: 202 });
    await mica.until(async () => (await mica.ask("GET", `/volume/v3/volumes/${id}`)).status, (code) => code === 404);
    const { "os-volume_upload_image": begun } = await mica.json("POST", `/volume/v3/volumes/${restored}/action`, {
      body: { "os-volume_upload_image": { image_name: "seen", disk_format: "raw" } },
    });
    await mica.until(() => mica.json("GET", `/image/v2/images/${begun.image_id}`), ({ status }) => status === "active");
    const seen = Buffer.from(await (await mica.ask("GET", `/image/v2/images/${begun.image_id}/file`)).arrayBuffer());
    assert.ok(seen.subarray(0, content.length).equals(content));
  });

  it("a volume of a snapshot stands alone soon where flattenVolumeFromSnapshot says so", async () => {
    const pools = JSON.parse(place.env.MICA_POOLS).map((pool: { name: string; rbd: object }) => ({ ...pool, rbd: { ...pool.rbd, flattenVolumeFromSnapshot: true } }));
    await mica.stop();
    await using flattening = await MicaProcess.start({ dataDir: mica.dataDir, env: { MICA_POOLS: JSON.stringify(pools) } });
    const id = await createVolume({ imageRef: await uploadRaw(flattening) }, flattening);
    const { snapshot } = await flattening.json("POST", "/volume/v3/snapshots", { body: { snapshot: { volume_id: id } } });
    const look = async () => (await flattening.json("GET", `/volume/v3/snapshots/${snapshot.id}`)).snapshot;
    assert.equal((await flattening.until(look, ({ status }) => status !== "creating")).status, "available");
    const restored = await createVolume({ snapshot_id: snapshot.id }, flattening);
    const ancestors = async () => (await flattening.json("GET", `/mica/v1/lineage?volume=${restored}`)).lineage.ancestors.length;
    await flattening.until(ancestors, (count) => count === 0);
    await flattening.stop();
    await mica.start();
  });

  it("leaves nothing over", async () => {
    const { code, output } = await mica.audit();
    assert.equal(code, 0, output);
  });
});
