import { copyFile, open, rm } from "node:fs/promises";
import { createReadStream } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { GiB, MINUTE_MS, MiB } from "#/lib/units.ts";
import { run } from "#/tools/run.ts";
import type { HypervisorDriver } from "#/vm/driver.ts";
import { mountNew } from "../test/support/file-systems.ts";
import { MicaProcess } from "../test/support/mica-process.ts";
import { inGuest } from "../test/real/support/guest-shell.ts";
import { guestImage } from "../test/real/support/guest.ts";
import { type Libvirt, startLibvirt } from "../test/real/support/libvirt.ts";
import type { Bed, Measurement } from "./bed.ts";
import { qemuImg } from "./disk.ts";
import { atMost, type Figure, median, pairedRatio, summary, timed } from "./figure.ts";
import { queueImage, uploadImage } from "./images.ts";

const CONVERT_RATIO_MAX = 1.3;
const DIRECT_MS_MAX = 1000;
const FREEZE_MS_MAX = 100;
/** Behind the partitions of the guest's disk. */
const DATA_OFFSET_BYTES = 128 * MiB;
/** A disk that has just been written to for seconds answers the guest late. */
const SETTLE_MS = 2000;
const HEADERS = { "openstack-api-version": "compute 2.90" };

/** A real guest that writes all the time becomes images. */
export const serverImages: Measurement = {
  about: "a running guest's disk becomes an image: against qemu-img convert of the same bytes offline, and beside Nova's way",
  async measure(bed) {
    const libvirt = bed.use(await startLibvirt());
    const guest = await startGuest(bed, libvirt);
    const quietMs = await quietWrites(bed, guest);
    const bareFreezeMs = await freezes(guest.driver, guest.serverId);
    const view = await measureMethod(bed, guest, "backup_job");
    const mirror = await measureMethod(bed, guest, "live_mirror");
    await guest.driver.destroy(guest.serverId);
    await guest.mica.stop();
    const ratio = pairedRatio(view.activeMs, view.offlineMs);
    return [
      { figure: "qemu-img convert offline, to stable storage", unit: "ms", ...summary(view.offlineMs), note: "-t none -T none -W, as images are made" },
      { figure: "qemu-img convert offline, its defaults", unit: "ms", ...summary(view.defaultsMs), note: "leaves what it writes in the page cache" },
      { figure: "createImage by a backup job", unit: "ms", ...summary(view.activeMs), ratio, against: "offline", limit: atMost(ratio, CONVERT_RATIO_MAX, "×"), note: "until active: hashes follow" },
      { figure: "createImage by a backup job", unit: "ms", ...summary(view.activeMs), ratio: pairedRatio(view.activeMs, view.defaultsMs), against: "its defaults" },
      { figure: "createImage by a live mirror", unit: "ms", ...summary(mirror.activeMs), ratio: pairedRatio(mirror.activeMs, mirror.offlineMs), against: "offline", note: "as Nova does it" },
      { figure: "frozen and thawed, with nothing in between", unit: "ms", ...summary(bareFreezeMs), note: "the guest's own part" },
      { figure: "file systems frozen", unit: "ms", ...summary(view.freezeMs), limit: atMost(median(view.freezeMs), FREEZE_MS_MAX, "ms") },
      { figure: "file systems frozen, live mirror", unit: "ms", ...summary(mirror.freezeMs), note: "as Nova does it" },
      { figure: "between two writes of the guest, undisturbed", unit: "ms", ...summary(quietMs) },
      { figure: "between two writes, backup job", unit: "ms", ...summary(view.busyMs) },
      { figure: "between two writes, live mirror", unit: "ms", ...summary(mirror.busyMs), note: "as Nova does it" },
      ...(await measureDirect(bed)),
    ];
  },
};

/** A guest that writes, and a copy of its disk that stands still. */
interface Guest {
  readonly mica: MicaProcess;
  readonly driver: HypervisorDriver;
  readonly serverId: string;
  readonly source: string;
}

async function startGuest(bed: Bed, libvirt: Libvirt): Promise<Guest> {
  const source = await makeSource(bed);
  const mica = await bed.mica("mica", { env: hostOf(libvirt) });
  const driver = bed.use(libvirt.open());
  const serverId = await runGuest(mica, driver, await addGuestImage(mica, source), 1);
  await inGuest(driver, serverId, WRITE);
  await freezes(driver, serverId);
  return { mica, driver, serverId, source };
}

/** How long freezes take by themselves. An emulated processor translates their code the first times that it runs, for longer than it takes then. */
async function freezes(driver: HypervisorDriver, serverId: string): Promise<number[]> {
  const spans: number[] = [];
  for (let times = 0; times < 7; times++) {
    const { sinceMs } = await driver.freeze(serverId);
    await driver.thaw(serverId);
    spans.push(performance.now() - sinceMs);
  }
  return spans;
}

async function quietWrites(bed: Bed, guest: Guest): Promise<number[]> {
  const from = await writeCount(guest);
  await sleep(bed.isSmall ? 3000 : 10_000);
  return writesOf(guest, [[from, await writeCount(guest)]]);
}

/** The guest's disk with data of a size that counts. */
async function makeSource(bed: Bed): Promise<string> {
  const path = join(bed.folder, "source.raw");
  await copyFile((await guestImage()).disk, path);
  await using file = await open(path, "r+");
  await file.truncate(GiB);
  const random = await open("/dev/urandom");
  try {
    const piece = Buffer.alloc(4 * MiB);
    for (let done = 0; done < bed.sized(512 * MiB); done += piece.length) {
      await random.read(piece, 0, piece.length);
      await file.write(piece, 0, piece.length, DATA_OFFSET_BYTES + done);
    }
  } finally {
    await random.close();
  }
  return path;
}

/** One of each per round, made one after the other; `busyMs` only while the image was made. */
interface Measured {
  readonly activeMs: number[];
  readonly freezeMs: number[];
  readonly offlineMs: number[];
  readonly defaultsMs: number[];
  readonly busyMs: readonly number[];
}

/** The guest runs on while Mica is started with another method. */
async function measureMethod(bed: Bed, guest: Guest, method: string): Promise<Measured> {
  const { mica, serverId, source } = guest;
  await mica.stop();
  await mica.start({ MICA_SERVERS_CAPTURE_METHOD: method });
  const measured = { activeMs: [] as number[], freezeMs: [] as number[], offlineMs: [] as number[], defaultsMs: [] as number[] };
  const spans: [number, number][] = [];
  for (let round = 0; round < (bed.isSmall ? 1 : 7); round++) {
    measured.offlineMs.push(await convertOffline(bed, source, "-t", "none", "-T", "none", "-W"));
    measured.defaultsMs.push(await convertOffline(bed, source));
    await writtenOut(source);
    await sleep(SETTLE_MS);
    const from = await writeCount(guest);
    const { activeMs, image } = await createImage(mica, serverId);
    spans.push([from, await writeCount(guest)]);
    measured.activeMs.push(activeMs);
    measured.freezeMs.push(Number(image["mica_freeze_ms"]));
    await mica.json("DELETE", `/image/v2/images/${image["id"]}`, { status: 204 });
  }
  return { ...measured, busyMs: await writesOf(guest, spans) };
}

/** What was written before is on the disk, and keeps nobody waiting who is measured next. */
async function writtenOut(path: string): Promise<void> {
  await run("sync", ["-f", path], { timeoutMs: MINUTE_MS });
}

/** The page cache does not have the source, as it would not of a disk that a guest was on. */
async function convertOffline(bed: Bed, source: string, ...flags: readonly string[]): Promise<number> {
  const target = join(bed.folder, "offline.qcow2");
  await writtenOut(source);
  await run("dd", [`if=${source}`, "iflag=nocache", "count=0"], { timeoutMs: MINUTE_MS });
  const ms = await timed(() => qemuImg("convert", "-f", "raw", "-O", "qcow2", ...flags, source, target));
  await rm(target);
  return ms;
}

/** A pool that shares blocks: of a small disk and of one a hundred times as large. */
async function measureDirect(bed: Bed): Promise<Figure[]> {
  const place = bed.use(await mountNew("xfs", { sizeBytes: 16 * GiB }));
  const libvirt = bed.use(await startLibvirt()); // One that sees the mount.
  const mica = bed.use(await MicaProcess.start({ env: { ...hostOf(libvirt), MICA_LOG_LEVEL: "warn" }, dataDir: join(place.path, "mica") }));
  const driver = bed.use(libvirt.open());
  const imageId = await addGuestImage(mica, (await guestImage()).disk);
  const figures: Figure[] = [];
  for (const sizeGib of [1, 100]) {
    const serverId = await runGuest(mica, driver, imageId, sizeGib);
    await freezes(driver, serverId);
    const activeMs: number[] = [];
    const freezeMs: number[] = [];
    for (let round = 0; round < (bed.isSmall ? 1 : 5); round++) {
      const made = await createImage(mica, serverId);
      activeMs.push(made.activeMs);
      freezeMs.push(Number(made.image["mica_freeze_ms"]));
      await mica.json("DELETE", `/image/v2/images/${made.image["id"]}`, { status: 204 }); // It would be hashed beside the next.
    }
    figures.push({ figure: `direct snapshot of ${sizeGib} GiB`, unit: "ms", ...summary(activeMs), limit: atMost(median(activeMs), DIRECT_MS_MAX, "ms") });
    figures.push({ figure: `file systems frozen, direct snapshot of ${sizeGib} GiB`, unit: "ms", ...summary(freezeMs), limit: atMost(median(freezeMs), FREEZE_MS_MAX, "ms") });
    await driver.destroy(serverId);
  }
  await mica.kill();
  return figures;
}

function hostOf(libvirt: Libvirt): Record<string, string> {
  return { MICA_HYPERVISOR_DRIVER: "libvirt", MICA_HYPERVISOR_SOCKET_PATH: libvirt.socketPath };
}

async function addGuestImage(mica: MicaProcess, path: string): Promise<string> {
  const id = await queueImage(mica, "raw");
  const change = [{ op: "add", path: "/hw_qemu_guest_agent", value: "yes" }];
  await mica.json("PATCH", `/image/v2/images/${id}`, { body: JSON.stringify(change), headers: { "content-type": "application/openstack-images-v2.1-json-patch" } });
  await uploadImage(mica, id, createReadStream(path, { highWaterMark: MiB }));
  return id;
}

/** Once its agent answers. */
async function runGuest(mica: MicaProcess, driver: HypervisorDriver, imageId: string, diskGib: number): Promise<string> {
  const { flavor } = await mica.json("POST", "/compute/v2.1/flavors", { body: { flavor: { name: `bench-${diskGib}`, ram: 256, vcpus: 1, disk: diskGib } } });
  const server = { name: "bench", imageRef: imageId, flavorRef: flavor.id, networks: "none" };
  const { server: made } = await mica.json("POST", "/compute/v2.1/servers", { body: { server }, headers: HEADERS });
  const look = async () => (await mica.json("GET", `/compute/v2.1/servers/${made.id}`, { headers: HEADERS })).server;
  const ended = await mica.until(look, ({ status }) => status !== "BUILD", 2 * MINUTE_MS);
  if (ended.status !== "ACTIVE") throw new Error(JSON.stringify(ended.fault));
  const answers = () => driver.agent(made.id, { execute: "guest-ping" }).then(() => true, () => false);
  await mica.until(answers, Boolean, 2 * MINUTE_MS);
  return made.id;
}

async function createImage(mica: MicaProcess, serverId: string): Promise<{ activeMs: number; image: Record<string, string> }> {
  const startedMs = performance.now();
  const { image_id } = await mica.json("POST", `/compute/v2.1/servers/${serverId}/action`, { body: { createImage: { name: "captured" } }, headers: HEADERS });
  for (;;) {
    const image = await mica.json("GET", `/image/v2/images/${image_id}`);
    const activeMs = performance.now() - startedMs;
    if (image.status === "active") {
      await mica.until(() => mica.json("GET", `/compute/v2.1/servers/${serverId}`), ({ server }) => server["OS-EXT-STS:task_state"] === null);
      return { activeMs, image };
    }
    await sleep(20); // Each look costs the guest, and what is measured, processor time.
  }
}

/** Writes that are on stable storage before the next, and the uptime in hundredths of a second after each, in memory. */
const WRITE = ": >/tmp/writes; setsid sh -c 'while :; do echo x | dd of=/data/x conv=fsync 2>/dev/null; read -r now _ </proc/uptime; echo $now >>/tmp/writes; done' >/dev/null 2>/dev/null </dev/null & echo begun";

async function writeCount({ driver, serverId }: Guest): Promise<number> {
  return Number(await inGuest(driver, serverId, "wc -l </tmp/writes"));
}

/** How long the guest was between two writes, ms, from which line to which. */
async function writesOf({ driver, serverId }: Guest, spans: readonly (readonly [number, number])[]): Promise<number[]> {
  const lines = (await inGuest(driver, serverId, "cat /tmp/writes")).split("\n").map(Number);
  const gaps = lines.slice(1).map((at, index) => Math.round(1000 * (at - (lines[index] ?? at))));
  return spans.flatMap(([from, to]) => gaps.slice(Math.max(0, from - 1), to));
}
