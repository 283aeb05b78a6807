/** Mica, libvirtd or the guest's own QEMU is killed while an image of a server is made: the guest is as it was, the image whole or gone, and nothing is left over. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { createReadStream, existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { after, before, describe, it } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { MiB } from "#/lib/units.ts";
import { captureFolder } from "#/vm/capture-folder.ts";
import { type MountedFileSystem, mountNew } from "../support/file-systems.ts";
import { CloudWithGuests } from "./support/cloud-with-guests.ts";
import { rootState } from "./support/guest-root.ts";
import { inGuest } from "./support/guest-shell.ts";

/** The guest has some 75 MB: to copy them takes seconds, so that there is a middle. */
const COPY_BYTES_PER_SECOND = 32 * MiB;

type Method = "backup_job" | "live_mirror" | "cold" | "pool_snapshot";
type Victim = "Mica" | "libvirtd" | "QEMU";
/** After the call, in ms; or as soon as the server shows that task, which it does from the step's beginning. */
type Moment = number | "image_snapshot" | "image_uploading";

/** A cold capture has no QEMU once the guest's memory is saved. */
const KILLS: Readonly<Record<Method, readonly (readonly [Victim, Moment])[]>> = {
  backup_job: [["Mica", 60], ["Mica", 250], ["Mica", "image_uploading"], ["libvirtd", 60], ["libvirtd", "image_uploading"], ["QEMU", "image_uploading"]],
  live_mirror: [["Mica", 60], ["Mica", 250], ["Mica", "image_uploading"], ["libvirtd", 120], ["libvirtd", "image_uploading"], ["QEMU", 150]],
  cold: [["Mica", 60], ["Mica", 400], ["Mica", "image_uploading"], ["libvirtd", 120], ["QEMU", "image_snapshot"]],
  pool_snapshot: [["Mica", 20], ["Mica", 80], ["libvirtd", 60], ["QEMU", 60]],
};

describe("while the disk is an overlay,", () => killsBy(["backup_job", "live_mirror", "cold"]));
describe("while the pool shares blocks,", () => killsBy(["pool_snapshot"]));

function killsBy(methods: readonly Method[]): void {
  let [cloud, place, dataDir, serverId] = [undefined as unknown as CloudWithGuests, undefined as MountedFileSystem | undefined, "", ""];
  before(async () => {
    place = methods.includes("pool_snapshot") ? await mountNew("xfs", { sizeBytes: 3 * 1024 * MiB }) : undefined;
    dataDir = place ? join(place.path, "mica") : await mkdtemp(join(tmpdir(), "mica-captures-"));
    cloud = await CloudWithGuests.start(place && { TMPDIR: place.path }, { dataDir });
    serverId = await cloud.createServer({ imageRef: await cloud.addImage() });
    await cloud.untilServer(serverId, "ACTIVE");
    await cloud.untilBooted(serverId);
  });
  after(async () => {
    await cloud?.[Symbol.asyncDispose]();
    await place?.[Symbol.asyncDispose]();
    await rm(dataDir, { recursive: true, force: true });
  });

  for (const method of methods) {
    describe(`of an image by ${method}`, () => {
      let keptId: string | undefined;
      before(async () => {
        await configure({ bandwidthBytesPerSecondMax: method === "pool_snapshot" ? 0 : COPY_BYTES_PER_SECOND, servers: { captureMethod: method } });
        await untilRunning(cloud, serverId);
      });

      for (const [victim, moment] of KILLS[method]) {
        it(`${victim} is killed ${typeof moment === "number" ? `${moment} ms after the call` : `while the server is ${moment}`}`, async () => {
          const { image_id: imageId } = await cloud.compute("POST", `/servers/${serverId}/action`, { createImage: { name: "captured" } });
          await until(cloud, serverId, moment);
          await kill(cloud, serverId, victim);
          await untilRested(cloud);
          await assertGuestFree(cloud, { serverId, victim, method });
          const isWhole = await assertWholeOrGone(cloud, imageId);
          await cloud.assertAuditClean();
          if (isWhole && keptId === undefined) keptId = imageId;
          else await cloud.mica.ask("DELETE", `/image/v2/images/${imageId}`);
        });
      }

      it("what is left boots", async () => {
        assert.ok(keptId, "no kill left an image");
        const copyId = await cloud.createServer({ imageRef: keptId });
        await cloud.untilServer(copyId, "ACTIVE");
        await cloud.untilBooted(copyId);
        assert.match(await inGuest(cloud.hypervisor, copyId, "/data/check"), /^OK/);
        await cloud.deleteServer(copyId);
        await cloud.mica.ask("DELETE", `/image/v2/images/${keptId}`);
      });

      if (method !== "live_mirror") return;
      it("its guest writes faster than it is copied: that ends, and nothing is left over", async () => {
        await configure({ bandwidthBytesPerSecondMax: MiB, servers: { captureMethod: method, mirrorStallMsMax: 1500 } }); // An emulated guest on a busy host writes no more than a few MiB/s.
        await untilRunning(cloud, serverId);
        await inGuest(cloud.hypervisor, serverId, OUTRUN);
        const { image_id: imageId } = await cloud.compute("POST", `/servers/${serverId}/action`, { createImage: { name: "captured" } });
        await untilRested(cloud);
        await inGuest(cloud.hypervisor, serverId, "rm /tmp/outrun");
        const { operations } = await cloud.mica.json("GET", "/mica/v1/operations");
        assert.match(JSON.stringify(operations.find(({ kind }: { kind: string }) => kind === "capture-server")), /writes faster than its disk vda is copied/);
        assert.equal((await cloud.mica.ask("GET", `/image/v2/images/${imageId}`)).status, 404);
        await assertGuestFree(cloud, { serverId, victim: "Mica", method });
        await cloud.assertAuditClean();
      });
    });
  }

  async function configure({ bandwidthBytesPerSecondMax, servers }: { bandwidthBytesPerSecondMax: number; servers: object }): Promise<void> {
    const local = { name: "local", path: join(dataDir, "pools/local"), bandwidthBytesPerSecondMax };
    await writeFile(join(dataDir, "mica.json"), JSON.stringify({ pools: [local], servers }));
    await restart(cloud);
  }
}

/** Writes the same 8 MiB over and over, as fast as it can, until it is told to end. */
const OUTRUN = "touch /tmp/outrun; setsid sh -c 'while [ -e /tmp/outrun ]; do dd if=/dev/zero of=/data/busy bs=64k count=128 conv=notrunc,fsync; done; rm /data/busy' >/dev/null 2>&1 </dev/null & echo begun";

async function until({ mica }: CloudWithGuests, serverId: string, moment: Moment): Promise<void> {
  if (typeof moment === "number") return delay(moment);
  const look = async () => (await mica.json("GET", `/compute/v2.1/servers/${serverId}`)).server["OS-EXT-STS:task_state"];
  await mica.until(look, (task) => task === moment || task === null);
}

async function kill(cloud: CloudWithGuests, serverId: string, victim: Victim): Promise<void> {
  if (victim === "Mica") return restart(cloud);
  if (victim === "QEMU") return void process.kill(await cloud.libvirt.qemuPid(serverId), "SIGKILL");
  await cloud.libvirt.kill();
  await cloud.libvirt.restart();
}

async function restart({ mica }: CloudWithGuests): Promise<void> {
  await mica.kill();
  await mica.start();
}

/** An image whose bytes were not moved is hashed in the background, which takes its time. */
async function untilRested({ mica }: CloudWithGuests): Promise<void> {
  const isOpen = ({ kind, endedAt }: { kind: string; endedAt: string | null }) => !endedAt && kind !== "hash-image";
  const open = async () => (await mica.json("GET", "/mica/v1/operations")).operations.filter(isOpen).map(({ kind }: { kind: string }) => kind);
  await mica.until(open, (kinds) => kinds.length === 0, 120_000);
}

/** Starts one whose QEMU was killed before. */
async function untilRunning(cloud: CloudWithGuests, serverId: string): Promise<void> {
  const server = (await cloud.compute("GET", `/servers/${serverId}`)).server;
  if (server.status !== "SHUTOFF") return;
  const boots = (await cloud.consoleOf(serverId)).split("GUEST-READY").length;
  await cloud.act(serverId, { "os-start": null }, "ACTIVE");
  await cloud.untilBooted(serverId, boots);
}

/** It runs and can write, or is shown as stopped where it was killed; nothing of the capture is open in it, or kept for it. */
async function assertGuestFree(cloud: CloudWithGuests, { serverId, victim, method }: { serverId: string; victim: Victim; method: Method }): Promise<void> {
  const look = async () => (await cloud.compute("GET", `/servers/${serverId}`)).server;
  const guest = await cloud.hypervisor.stat(serverId);
  assert.deepEqual([guest?.backup, guest?.mirrored], [undefined, []]);
  assert.ok(!existsSync(captureFolder(join(cloud.mica.dataDir, "servers"), serverId)), "the folder of the capture is left over");
  // A cold capture that was killed while it saved may have found the guest saved before.
  const isKilled = victim === "QEMU" && !(method === "cold" && guest?.state === "running");
  assert.equal(guest?.state, isKilled ? "crashed" : "running");
  await cloud.mica.until(look, ({ status }) => status === (isKilled ? "SHUTOFF" : "ACTIVE"), 10_000);
  if (isKilled) return;
  await cloud.mica.until(() => cloud.hypervisor.agent(serverId, { execute: "guest-ping" }).then(() => true, () => false), Boolean); // One that was saved is just back.
  await inGuest(cloud.hypervisor, serverId, "echo thawed >/data/thawed && sync");
}

/** Whether it is there. A small one is hashed soon. */
async function assertWholeOrGone({ mica }: CloudWithGuests, imageId: string): Promise<boolean> {
  const answer = await mica.ask("GET", `/image/v2/images/${imageId}`);
  if (answer.status === 404) return false;
  const { status, disk_format: format } = (await answer.json()) as Record<string, string>;
  assert.equal(status, "active");
  const file = join(mica.dataDir, "pools/local", `${imageId}.disk`);
  if (format === "qcow2") {
    const { os_hash_value: wanted } = await mica.until(() => mica.json("GET", `/image/v2/images/${imageId}`), (image) => image.os_hash_value !== null);
    assert.equal(await sha512(file), wanted);
  }
  assert.match(await rootState(file, format ?? ""), /Filesystem state: +clean/);
  return true;
}

async function sha512(file: string): Promise<string> {
  const hash = createHash("sha512");
  await pipeline(createReadStream(file), hash);
  return hash.digest("hex");
}
