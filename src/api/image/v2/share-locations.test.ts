import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { it } from "node:test";
import { pathToFileURL } from "node:url";
import { poolName } from "#/domain/ids.ts";
import { MiB } from "#/lib/units.ts";
import { dense } from "#/storage/contract/bench.ts";
import { NfsDriver } from "#/storage/nfs/driver.ts";
import { Pool } from "#/storage/pool.ts";
import { ImageApi } from "../../../../test/support/image-api.ts";
import { POOL_LIMITS } from "../../../../test/support/pool-limits.ts";

/** An image store's folder on the export of an `nfs` pool: here both are folders of this machine. */
async function openWorld() {
  await using stack = new AsyncDisposableStack();
  const [folder, store] = await Promise.all(["pool", "store"].map((name) => mkdtemp(join(tmpdir(), `mica-${name}-`))));
  for (const path of [folder, store]) stack.defer(() => rm(path as string, { recursive: true, force: true }));
  const driver = await NfsDriver.open(folder as string, { allowLocal: true });
  const shared = new Pool({ name: poolName("shared"), roles: ["images"], driver, limits: POOL_LIMITS });
  const images = { showDirectUrl: false, showMultipleLocations: false, secureHash: true };
  const api = stack.use(await ImageApi.open({ config: { images }, more: [shared] }));
  const kept = stack.move();
  return { api, folder: folder as string, store: store as string, [Symbol.asyncDispose]: () => kept.disposeAsync() };
}

it("an image that the store has on the pool's export is registered by a service where it lies, and stays when it is deleted", async () => {
  await using world = await openWorld();
  const { api, store } = world;
  const path = join(store, "cirros");
  await writeFile(path, dense(MiB, 1));
  const [alice, admin] = [await api.alice(), await api.admin()];
  const id = await api.create(alice);
  const add = (token: string, url: string) => api.server.request("POST", `/image/v2/images/${id}/locations`, { token, body: { url } });
  const url = pathToFileURL(path).href;
  assert.equal((await add(alice.token, url)).statusCode, 403);
  for (const foreign of [`${url}-not-there`, "file:///proc/version", "nfs://10.0.0.9/export/cirros"]) {
    assert.equal((await add(admin.token, foreign)).statusCode, 400, foreign);
  }
  assert.equal((await add(admin.token, url)).statusCode, 202);
  await api.settle();
  const image = await api.show(alice, id);
  assert.deepEqual([image["status"], image["size"], image["stores"]], ["active", MiB, "shared"]);
  const download = await api.server.request("GET", `/image/v2/images/${id}/file`, { token: alice.token });
  assert.equal(Buffer.compare(download.rawPayload, dense(MiB, 1)), 0);
  await api.server.request("DELETE", `/image/v2/images/${id}`, { token: alice.token });
  await api.settle();
  assert.equal((await readFile(path)).length, MiB);
  assert.deepEqual((await api.leftovers()).findings, []);
});

it("a file of Mica's own is never registered: it would go with its disk", async () => {
  await using world = await openWorld();
  const { api, folder } = world;
  const admin = await api.admin();
  const [queued, uploaded] = [await api.create(admin), await api.create(admin)];
  await api.server.request("PUT", `/image/v2/images/${uploaded}/file`, { token: admin.token, headers: { "content-type": "application/octet-stream" }, body: dense(MiB, 1) });
  const { disk_id } = await api.services.db.selectFrom("image").select("disk_id").where("id", "=", uploaded).executeTakeFirstOrThrow();
  const path = join(folder, `${disk_id}.disk`);
  await writeFile(path, dense(MiB, 1));
  const answer = await api.server.request("POST", `/image/v2/images/${queued}/locations`, { token: admin.token, body: { url: pathToFileURL(path).href } });
  assert.equal(answer.statusCode, 409, answer.body);
});
