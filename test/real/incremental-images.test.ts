/** Images of one server, one after the other: from the second on only what changed is read, for as long as QEMU's bitmaps last. */
import assert from "node:assert/strict";
import { after, describe, it } from "node:test";
import { KiB } from "#/lib/units.ts";
import { CloudWithGuests } from "./support/cloud-with-guests.ts";
import { inGuest } from "./support/guest-shell.ts";

const BLOCK_BYTES = 64 * KiB;
const write = (name: string, blocks: number) => `dd if=/dev/urandom of=/data/${name} bs=${BLOCK_BYTES} count=${blocks} conv=fsync 2>/dev/null; md5sum /data/${name}`;

interface Made {
  readonly imageId: string;
  readonly strategy: string;
  readonly bytesRead: number;
  readonly fellBack: readonly { readonly strategy: string }[];
}

describe("images of a server, again and again", () => {
  let cloud: CloudWithGuests;
  let serverId = "";
  let first: Made;
  const sums: Record<string, string> = {};
  const earlier: string[] = [];
  after(() => cloud?.[Symbol.asyncDispose]());

  async function capture(): Promise<Made> {
    const { image_id: imageId } = await cloud.compute("POST", `/servers/${serverId}/action`, { createImage: { name: "captured" } });
    await cloud.untilServer(serverId, "ACTIVE");
    assert.equal((await cloud.mica.json("GET", `/image/v2/images/${imageId}`)).status, "active");
    const { operations } = await cloud.mica.json("GET", `/mica/v1/operations?subject=${serverId}`);
    const { actual } = operations.find(({ kind }: { kind: string }) => kind === "capture-server");
    return { imageId, strategy: actual.strategy, bytesRead: actual.bytesRead, fellBack: actual.fellBack ?? [] };
  }

  /** The checksums that the guest gave are what a server of the image reads, whose file system is whole. */
  async function assertBoots(imageId: string): Promise<void> {
    const copyId = await cloud.createServer({ imageRef: imageId });
    await cloud.untilServer(copyId, "ACTIVE");
    await cloud.untilBooted(copyId);
    for (const [file, sum] of Object.entries(sums)) assert.equal(await inGuest(cloud.hypervisor, copyId, `md5sum /data/${file}`), sum);
    assert.match(await inGuest(cloud.hypervisor, copyId, "/data/check"), /^OK/);
    await cloud.deleteServer(copyId);
  }

  it("read all of the disk first, then only what changed: of a hundredth, a twentieth of the first one's bytes at most", async (t) => {
    cloud = await CloudWithGuests.start({ MICA_SERVERS_SNAPSHOT_IMAGE_FORMAT: "raw", MICA_SERVERS_CAPTURE_METHOD: "backup_job" });
    serverId = await cloud.createServer({ imageRef: await cloud.addImage() });
    await cloud.untilServer(serverId, "ACTIVE");
    await cloud.untilBooted(serverId);
    first = await capture();
    assert.equal(first.strategy, "stream_convert");
    const blocks = Math.ceil(first.bytesRead / 100 / BLOCK_BYTES);
    sums["second"] = await inGuest(cloud.hypervisor, serverId, write("second", blocks));
    const second = await capture();
    t.diagnostic(`${blocks * BLOCK_BYTES} bytes changed, ${second.bytesRead} were read, of ${first.bytesRead}`);
    assert.deepEqual([second.strategy, second.fellBack], ["copy_changes", []]);
    assert.ok(second.bytesRead >= blocks * BLOCK_BYTES && second.bytesRead <= first.bytesRead / 20, `${second.bytesRead} of ${first.bytesRead} bytes were read`);
    assert.equal((await cloud.hypervisor.listCheckpoints(serverId)).length, 1);
    earlier.push(first.imageId, second.imageId);
  });

  it("know what changed also after the guest was stopped and started, and are read without the images before", async () => {
    await cloud.act(serverId, { "os-stop": null }, "SHUTOFF");
    await cloud.act(serverId, { "os-start": null }, "ACTIVE");
    await cloud.untilBooted(serverId, 2);
    sums["third"] = await inGuest(cloud.hypervisor, serverId, write("third", 4));
    const third = await capture();
    assert.deepEqual([third.strategy, third.fellBack], ["copy_changes", []]);
    for (const imageId of earlier) await cloud.mica.json("DELETE", `/image/v2/images/${imageId}`);
    await assertBoots(third.imageId);
  });

  it("read all of the disk again where QEMU was killed, and say why", async () => {
    process.kill(await cloud.libvirt.qemuPid(serverId), "SIGKILL");
    await cloud.mica.until(() => cloud.compute("GET", `/servers/${serverId}`), ({ server }) => server.status === "SHUTOFF");
    await cloud.act(serverId, { "os-start": null }, "ACTIVE");
    await cloud.untilBooted(serverId, 3);
    const fourth = await capture();
    assert.deepEqual([fourth.strategy, fourth.fellBack.map(({ strategy }) => strategy)], ["stream_convert", ["copy_changes"]]);
    await cloud.deleteServer(serverId);
    await cloud.assertAuditClean();
  });
});
