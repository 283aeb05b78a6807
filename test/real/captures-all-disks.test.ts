/** Images of all disks of a server whose guest writes the same number to one disk after the other: in a server of the image the two are of one instant. */
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { CloudWithGuests } from "./support/cloud-with-guests.ts";
import { inGuest } from "./support/guest-shell.ts";

/** In place and on stable storage, first on the root disk, then on the volume. */
const WRITE =
  "touch /data/number; setsid sh -c 'n=10000000; while :; do n=$((n+1)); for disk in /data/number /dev/vdb; do printf $n | dd of=$disk conv=notrunc,fsync 2>/dev/null; done; done' >/dev/null 2>&1 </dev/null & echo begun";
const NUMBERS = "cat /data/number; echo; head -c 8 /dev/vdb";

/** How the guest is held where several calls are needed: by its agent, or without one by its processors. */
const CASES = [
  { method: "backup_job", agent: true },
  { method: "live_mirror", agent: false },
] as const;

/** Its agent ends, and cannot be begun again before the next boot: init would. */
const NO_AGENT = "mount -o bind /dev/null /usr/sbin/qemu-ga && { (sleep 0.2; kill $(pidof qemu-ga)) >/dev/null 2>&1 </dev/null & echo going; }";

describe("an image of all disks", () => {
  let [cloud, dataDir, serverId] = [undefined as unknown as CloudWithGuests, "", ""];
  before(async () => {
    dataDir = await mkdtemp(join(tmpdir(), "mica-all-disks-"));
    cloud = await CloudWithGuests.start({}, { dataDir });
    serverId = await cloud.createServer({ imageRef: await cloud.addImage() });
    await cloud.untilServer(serverId, "ACTIVE");
    await cloud.untilBooted(serverId);
    const volumeId = await cloud.createVolume({ size: 1 });
    await cloud.compute("POST", `/servers/${serverId}/os-volume_attachments`, { volumeAttachment: { volumeId } });
    await cloud.untilVolume(volumeId, "in-use");
    await cloud.mica.until(() => inGuest(cloud.hypervisor, serverId, "test -b /dev/vdb && echo there || echo not"), (found) => found === "there");
    await inGuest(cloud.hypervisor, serverId, WRITE);
    await cloud.mica.until(() => numbers(cloud, serverId), ([, volume]) => volume > 10_000_005);
  });
  after(async () => {
    await cloud?.[Symbol.asyncDispose]();
    await rm(dataDir, { recursive: true, force: true });
  });

  for (const { method, agent } of CASES) {
    it(`by ${method}, ${agent ? "with the guest's agent" : "without an agent"}, is of one instant, and boots with all of them`, async () => {
      await writeFile(join(dataDir, "mica.json"), JSON.stringify({ servers: { captureMethod: method } }));
      await cloud.mica.stop();
      await cloud.mica.start();
      const [before] = await numbers(cloud, serverId);
      if (!agent) await inGuest(cloud.hypervisor, serverId, NO_AGENT);
      if (!agent) await cloud.mica.until(async () => (await cloud.hypervisor.stat(serverId))?.agentConnected, (connected) => connected === false);
      const { image_id: imageId } = await cloud.compute("POST", `/servers/${serverId}/action`, { createImage: { name: "all", metadata: { mica_disks: "all" } } });
      await cloud.untilServer(serverId, "ACTIVE");
      const image = await cloud.mica.json("GET", `/image/v2/images/${imageId}`);
      assert.deepEqual([image.status, image.mica_capture_method, image.mica_consistency], ["active", method, agent ? "filesystem" : "crash"]);
      assert.equal(Number(image.mica_downtime_ms) > 0, !agent);

      const copyId = await cloud.createServer({ imageRef: imageId });
      await cloud.untilServer(copyId, "ACTIVE");
      await cloud.untilBooted(copyId);
      const [root, volume] = await numbers(cloud, copyId);
      assert.ok(root >= before, `the guest had written ${before}, and its copy has ${root}`);
      assert.ok(root - volume === 0 || root - volume === 1, `the root disk has ${root}, the volume ${volume}`);
      await cloud.deleteServer(copyId);
      await cloud.assertAuditClean();
    });
  }
});

async function numbers(cloud: CloudWithGuests, id: string): Promise<[root: number, volume: number]> {
  const [root, volume] = (await inGuest(cloud.hypervisor, id, NUMBERS)).split("\n");
  return [Number(root), Number(volume)];
}
