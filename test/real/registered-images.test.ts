/** Images that Glance has in Ceph, registered by a service: a volume is a clone of the very bytes, and these outlive the image. */
import assert from "node:assert/strict";
import { randomFillSync } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { MiB } from "#/lib/units.ts";
import { MicaProcess } from "../support/mica-process.ts";
import { sharedCeph } from "./support/ceph.ts";

await using starting = new AsyncDisposableStack();
const ceph = starting.use(await sharedCeph());
const pools = ["images", "volumes"].map((pool) => ({ name: pool, driver: "rbd", rbd: { confPath: ceph.confPath, pool }, roles: [pool] }));
const mica = starting.use(await MicaProcess.start({ env: { MICA_POOLS: JSON.stringify(pools) } }));
const world = starting.move();
after(() => world.disposeAsync());

const content = randomFillSync(Buffer.alloc(16 * MiB));
const fsid = (await ceph.ceph("fsid")).trim();

/** An image as Glance leaves it in its pool: named by its id, with a protected snapshot `snap`. */
async function putByGlance(name: string): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "mica-registered-"));
  await writeFile(join(folder, "disk"), content);
  await ceph.rbd("import", join(folder, "disk"), `images/${name}`);
  await rm(folder, { recursive: true });
  await ceph.rbd("snap", "create", `images/${name}@snap`);
  await ceph.rbd("snap", "protect", `images/${name}@snap`);
  return `rbd://${fsid}/images/${name}/snap`;
}

const image = (id: string) => mica.json("GET", `/image/v2/images/${id}`);

async function registered(url: string): Promise<string> {
  const { id } = await mica.json("POST", "/image/v2/images", { body: { name: "of Glance", disk_format: "raw", container_format: "bare" } });
  await mica.json("POST", `/image/v2/images/${id}/locations`, { body: { url } });
  await mica.until(() => image(id), ({ status, os_hash_value: hash }) => status === "active" && hash !== null);
  return id;
}

async function assertClean(): Promise<void> {
  const { code, output } = await mica.audit();
  assert.equal(code, 0, output);
}

describe("An image that Glance has in Ceph", () => {
  for (const name of ["0b7a1a5e-5d1c-4a53-9b0e-3f6a2b1c9d10", "cirros"]) {
    it(`as ${name}, becomes volumes that are clones, and is never touched`, async () => {
      const id = await registered(await putByGlance(name));
      assert.equal((await image(id)).size, content.length);
      const { volume } = await mica.json("POST", "/volume/v3/volumes", { body: { volume: { size: 1, imageRef: id } } });
      const look = async () => (await mica.json("GET", `/volume/v3/volumes/${volume.id}`)).volume;
      assert.equal((await mica.until(look, ({ status }) => status !== "creating")).status, "available");
      const [operation] = (await mica.json("GET", `/mica/v1/operations?subject=${volume.id}`)).operations;
      assert.deepEqual([operation.plan.strategy, operation.actual.bytesThroughUs ?? 0], ["clone", 0]);
      await assertClean();

      assert.equal((await mica.ask("DELETE", `/image/v2/images/${id}`)).status, 204);
      await assertClean(); // The volume still reads through those bytes.
      await mica.json("DELETE", `/volume/v3/volumes/${volume.id}`, { status: 202 });
      await mica.until(async () => (await mica.ask("GET", `/volume/v3/volumes/${volume.id}`)).status, (code) => code === 404);
      assert.match(await ceph.rbd("snap", "ls", `images/${name}`), /snap .*yes/);
      // Named by an id, it looks like a stray of ours until Glance removes it.
      await ceph.rbd("snap", "unprotect", `images/${name}@snap`);
      await ceph.rbd("snap", "purge", `images/${name}`);
      await ceph.rbd("rm", `images/${name}`);
      await assertClean();
    });
  }

  it("is refused where it is not: another cluster, pool or name", async () => {
    const { id } = await mica.json("POST", "/image/v2/images", { body: { disk_format: "raw", container_format: "bare" } });
    for (const url of ["rbd://another/images/cirros/snap", `rbd://${fsid}/vms/cirros/snap`]) {
      assert.equal((await mica.ask("POST", `/image/v2/images/${id}/locations`, { body: { url } })).status, 400);
    }
    await mica.json("POST", `/image/v2/images/${id}/locations`, { body: { url: `rbd://${fsid}/images/nothing/snap` } });
    await mica.until(() => image(id), ({ status }) => status === "queued");
  });
});
