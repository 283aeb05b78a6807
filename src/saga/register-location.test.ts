import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { poolUsage } from "#/db/disks.ts";
import { findImage } from "#/db/images.ts";
import { poolName } from "#/domain/ids.ts";
import { silentLog } from "#/lib/log.ts";
import { MiB } from "#/lib/units.ts";
import { sagaContract } from "#/saga/engine/contract.ts";
import { hashImage } from "#/saga/hash-image.ts";
import { type RegisterLocation, registerLocation } from "#/saga/register-location.ts";
import { HttpDriver } from "#/storage/http/driver.ts";
import { SagaWorld, someContent } from "../../test/support/saga-world.ts";
import { startWebServer } from "../../test/support/web-server.ts";

const POOL = poolName("fast");
const DISK = "22222222-2222-4222-8222-222222222222";
const CONTENT = someContent(MiB);
const SHA512 = createHash("sha512").update(CONTENT).digest("hex");

/** An image that is `importing` from a web server, in a pool of such. */
async function openWorld(given: Pick<RegisterLocation, "sha512" | "secureHash">) {
  await using stack = new AsyncDisposableStack();
  const web = stack.use(await startWebServer({ "/disk": { bytes: CONTENT } }));
  const driver = stack.use(new HttpDriver({ allowedHosts: ["127.0.0.1"], silenceMsMax: 5000 }, { log: silentLog }));
  const world = stack.use(await SagaWorld.open({ driver, sagas: [hashImage] }));
  const imageId = await world.addQueuedImage();
  await world.db.updateTable("image").set({ status: "importing" }).execute();
  const params: RegisterLocation = {
    ...{ imageId, diskId: DISK, pool: POOL, format: "raw", packed: null, diskFormat: "raw", sizeBytesMax: 64 * MiB },
    ...{ url: `${web.url}/disk`, ...given },
  };
  const kept = stack.move();
  return { world, params, [Symbol.asyncDispose]: () => kept.disposeAsync() };
}

const WAYS = {
  "whatever it holds": { sha512: null, secureHash: true },
  "with the hash that it must have": { sha512: SHA512, secureHash: true },
  "with a hash that is believed": { sha512: SHA512, secureHash: false },
} as const;

for (const [name, given] of Object.entries(WAYS)) {
  sagaContract(`registerLocation, ${name},`, registerLocation, async () => {
    const { world, params, [Symbol.asyncDispose]: dispose } = await openWorld(given);
    const { imageId, url } = params;
    return {
      context: world.context(params),
      async assertDone() {
        await world.settle();
        const image = await findImage(world.db, imageId);
        assert.deepEqual([image?.status, image?.disk_id, image?.size_bytes, image?.virtual_size_bytes, image?.hash_value], ["active", DISK, MiB, MiB, SHA512]);
        const disks = await world.db.selectFrom("disk").select(["id", "location", "state"]).execute();
        assert.deepEqual(disks.map((disk) => [disk.id, disk.location, disk.state]), [[DISK, url, "ready"]]);
        assert.deepEqual(await poolUsage(world.db, POOL), { provisionedBytes: MiB, reservedBytes: 0 });
        await world.assertAuditClean();
      },
      async assertClean() {
        await world.settle();
        const image = await findImage(world.db, imageId);
        assert.deepEqual([image?.status, image?.disk_id, image?.size_bytes, image?.hash_value], ["queued", null, null, null]);
        assert.deepEqual(await poolUsage(world.db, POOL), { provisionedBytes: 0, reservedBytes: 0 });
        await world.assertAuditClean();
      },
      isShown: async () => (await findImage(world.db, imageId))?.status === "active",
      [Symbol.asyncDispose]: dispose,
    };
  });
}
