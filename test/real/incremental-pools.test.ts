/** Images of a server whose disk is in a pool that knows what changes, in a store of another place: from the second on only that is read. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { MiB } from "#/lib/units.ts";
import { mountNew } from "../support/file-systems.ts";
import { sharedCeph } from "./support/ceph.ts";
import { CloudWithGuests } from "./support/cloud-with-guests.ts";
import { inGuest } from "./support/guest-shell.ts";

interface Made {
  readonly imageId: string;
  readonly method: string;
  readonly strategy: string;
  readonly bytesRead: number;
  readonly fellBack: readonly object[];
}

/** Pools for servers, each with a folder beside it for images, with which it shares nothing. */
const PLACES = {
  async XFS(stack: AsyncDisposableStack) {
    const { path } = stack.use(await mountNew("xfs", { sizeBytes: 3 * 1024 * MiB }));
    await mkdir(join(path, "servers"));
    return { path: join(path, "servers") };
  },
  /** An object counts whole, and the guest has written little. */
  async Ceph(stack: AsyncDisposableStack) {
    const ceph = stack.use(await sharedCeph());
    return { driver: "rbd", rbd: { confPath: ceph.confPath, pool: "volumes", objectSizeBytes: MiB / 8 }, overSubscriptionRatioMax: 1000 };
  },
};

for (const [name, open] of Object.entries(PLACES)) {
  describe(`images elsewhere of a server on ${name}`, () => {
    const stack = new AsyncDisposableStack();
    let cloud: CloudWithGuests;
    let serverId = "";
    const made: Made[] = [];
    after(() => stack.disposeAsync());

    async function capture(): Promise<Made> {
      const { image_id: imageId } = await cloud.compute("POST", `/servers/${serverId}/action`, { createImage: { name: "captured" } });
      await cloud.mica.until(() => cloud.compute("GET", `/servers/${serverId}`), ({ server }) => server["OS-EXT-STS:task_state"] === null);
      const { status, mica_capture_method: method } = await cloud.mica.json("GET", `/image/v2/images/${imageId}`);
      assert.equal(status, "active");
      const { operations } = await cloud.mica.json("GET", `/mica/v1/operations?subject=${serverId}`);
      const { actual } = operations.find(({ kind }: { kind: string }) => kind === "capture-server");
      const { strategy, bytesRead, fellBack = [] } = actual;
      made.push({ imageId, method, strategy, bytesRead, fellBack });
      return made.at(-1) as Made;
    }

    /** Of all of the image's bytes, as a client gets them. */
    async function digest(imageId: string, algorithm: string): Promise<string> {
      const answer = await cloud.mica.ask("GET", `/image/v2/images/${imageId}/file`);
      assert.ok(answer.body);
      const hash = createHash(algorithm);
      for await (const part of answer.body) hash.update(part);
      return hash.digest("hex");
    }

    it("read only what changed: of a hundredth, a twentieth of the first one's bytes at most", async (t) => {
      const pool = { name: "servers", roles: ["servers", "cache", "volumes"], ...(await open(stack)) };
      const folder = await mkdtemp(join(tmpdir(), "mica-images-"));
      stack.defer(() => rm(folder, { recursive: true }));
      cloud = stack.use(await CloudWithGuests.start({ MICA_POOLS: JSON.stringify([pool, { name: "images", roles: ["images"], path: folder }]) }));
      const { flavor } = await cloud.compute("POST", "/flavors", { flavor: { name: "as large as its image", ram: 256, vcpus: 1, disk: 0 } });
      serverId = await cloud.createServer({ imageRef: await cloud.addImage(), flavorRef: flavor.id });
      await cloud.untilServer(serverId, "ACTIVE");
      await cloud.untilBooted(serverId);
      const first = await capture();
      assert.deepEqual([first.method, first.strategy], ["pool_snapshot", "stream_convert"]);
      const blocks = Math.ceil(first.bytesRead / 100 / 65_536);
      await inGuest(cloud.hypervisor, serverId, `dd if=/dev/urandom of=/data/changed bs=64k count=${blocks} conv=fsync 2>/dev/null`);
      const second = await capture();
      t.diagnostic(`${second.bytesRead} of ${first.bytesRead} bytes`);
      assert.deepEqual([second.method, second.strategy, second.fellBack], ["pool_snapshot", "copy_changes", []]);
      assert.ok(second.bytesRead > blocks * 65_536 && second.bytesRead <= first.bytesRead / 20, `${second.bytesRead} of ${first.bytesRead} bytes were read`);
      await cloud.assertAuditClean();
    });

    it("are, bit by bit, what a full one is, without the images before", async () => {
      await inGuest(cloud.hypervisor, serverId, "rm /data/changed; dd if=/dev/urandom of=/data/other bs=64k count=9 conv=fsync 2>/dev/null");
      await cloud.act(serverId, { "os-stop": null }, "SHUTOFF");
      const third = await capture();
      assert.deepEqual([third.method, third.strategy, third.fellBack], ["at_rest", "copy_changes", []]);
      for (const { imageId } of made.slice(0, 2)) await cloud.mica.json("DELETE", `/image/v2/images/${imageId}`);
      assert.equal(await cloud.mica.stop(), 0);
      await cloud.mica.start({ MICA_SERVERS_INCREMENTAL_IMAGES: "false" });
      const full = await capture();
      assert.equal(full.strategy, "stream_convert");
      const look = () => cloud.mica.json("GET", `/image/v2/images/${full.imageId}`);
      const { os_hash_algo: algorithm, os_hash_value: ofFull } = await cloud.mica.until(look, ({ os_hash_value: value }) => value !== null && value !== undefined);
      assert.equal(await digest(third.imageId, algorithm), ofFull);
      await cloud.assertAuditClean();
    });

    it("leave nothing when all is deleted", async () => {
      for (const { imageId } of made.slice(2)) await cloud.mica.json("DELETE", `/image/v2/images/${imageId}`);
      await cloud.deleteServer(serverId);
      await cloud.assertAuditClean();
    });
  });
}
