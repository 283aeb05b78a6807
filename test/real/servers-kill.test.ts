/** Mica is killed while servers are made, given volumes and deleted, under a real libvirt; whatever was begun ends whole. */
import assert from "node:assert/strict";
import { mkdtemp, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { GiB } from "#/lib/units.ts";
import { CloudWithGuests } from "./support/cloud-with-guests.ts";

/** After the call, in ms: from before the first step is on record to after the last. */
const CREATE_MOMENTS = [0, 40, 120, 250, 500, 900];
const ATTACH_MOMENTS = [0, 15, 40, 120];
const DELETE_MOMENTS = [0, 20, 60, 200];

const cloud = await CloudWithGuests.start();
const folder = await mkdtemp(join(tmpdir(), "mica-no-system-"));
after(async () => {
  await cloud[Symbol.asyncDispose]();
  await rm(folder, { recursive: true });
});
const { mica, hypervisor } = cloud;
const imageId = await cloud.addImage(await emptyDisk());
const volumeId = await cloud.createVolume({ size: 1 });

/** What boots does not matter here: the firmware runs, and QEMU has the disks open. */
async function emptyDisk(): Promise<string> {
  const path = join(folder, "disk");
  await writeFile(path, "no system");
  await truncate(path, GiB / 4);
  return path;
}

async function killAfter(ms: number): Promise<void> {
  await delay(ms);
  await mica.kill();
  await mica.start();
}

/** The newest server once it rests, however it ended; undefined where the call did not come through. */
async function resting(name: string) {
  const look = async () => (await cloud.compute("GET", `/servers/detail?name=${name}`)).servers[0];
  return mica.until(look, (server) => server === undefined || (server["OS-EXT-STS:task_state"] === null && server.status !== "BUILD"), 120_000);
}

describe("Mica is killed", () => {
  for (const ms of CREATE_MOMENTS) {
    it(`${ms} ms into the making of servers, of an image and of a volume; after that each is whole, or nothing is left of it`, async () => {
      const root = { boot_index: 0, uuid: imageId, source_type: "image", destination_type: "volume", volume_size: 1, delete_on_termination: true };
      const names = [`image-${ms}`, `volume-${ms}`];
      await cloud.createServer({ name: names[0], imageRef: imageId });
      await cloud.createServer({ name: names[1], imageRef: "", block_device_mapping_v2: [root] });
      await killAfter(ms);
      for (const name of names) {
        const server = await resting(String(name));
        assert.equal(server?.status, "ACTIVE", JSON.stringify(server?.fault));
      }
      await cloud.assertAuditClean();
      for (const name of names) await cloud.deleteServer((await resting(String(name))).id);
      await mica.until(async () => (await mica.json("GET", "/volume/v3/volumes")).volumes.length, (count) => count === 1);
      await cloud.assertAuditClean();
    });
  }

  describe("while a guest that listens is given a volume:", () => {
    let id = "";
    before(async () => {
      id = await cloud.createServer({ name: "holder", imageRef: await cloud.addImage() });
      await cloud.untilServer(id, "ACTIVE");
      await cloud.untilBooted(id);
    });

    for (const ms of ATTACH_MOMENTS) {
      it(`${ms} ms into attaching, and into detaching it; it is the server's, and then free`, async () => {
        await cloud.compute("POST", `/servers/${id}/os-volume_attachments`, { volumeAttachment: { volumeId } });
        await killAfter(ms);
        await cloud.untilVolume(volumeId, "in-use");
        assert.ok((await hypervisor.stat(id))?.disks.some(({ serial }) => serial === volumeId));
        await cloud.assertAuditClean();
        await cloud.compute("DELETE", `/servers/${id}/os-volume_attachments/${volumeId}`);
        await killAfter(ms);
        await cloud.untilVolume(volumeId, "available");
        assert.ok(!(await hypervisor.stat(id))?.disks.some(({ serial }) => serial === volumeId));
        await cloud.assertAuditClean();
      });
    }

    it("a guest that is stopped while it is asked to let go of a volume has let go of it", async () => {
      await cloud.compute("POST", `/servers/${id}/os-volume_attachments`, { volumeAttachment: { volumeId } });
      await cloud.untilVolume(volumeId, "in-use");
      await cloud.act(id, { pause: null }, "PAUSED");
      await cloud.compute("DELETE", `/servers/${id}/os-volume_attachments/${volumeId}`);
      await cloud.act(id, { reboot: { type: "HARD" } }, "ACTIVE");
      await cloud.untilVolume(volumeId, "available");
      await cloud.assertAuditClean();
    });
  });

  for (const ms of DELETE_MOMENTS) {
    it(`${ms} ms into deleting a server`, async () => {
      const id = await cloud.createServer({ name: `deleted-${ms}`, imageRef: imageId });
      await cloud.untilServer(id, "ACTIVE");
      await cloud.compute("DELETE", `/servers/${id}`);
      await killAfter(ms);
      const look = async () => {
        const response = await mica.ask("GET", `/compute/v2.1/servers/${id}`);
        return response.status === 404 ? "gone" : ((await response.json()) as { server: { status: string; fault?: object } }).server;
      };
      const left = await mica.until(look, (seen) => seen === "gone" || seen.status === "ERROR");
      assert.equal(left, "gone", JSON.stringify(left));
      await cloud.assertAuditClean();
    });
  }
});
