/**
 * A pool that becomes full in the middle of an upload, of a volume from an image, and of an image from a volume: each fails as
 * the APIs say, leaves nothing, and a smaller one works. The pool is a small tmpfs, which takes root to mount.
 */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { readdirSync } from "node:fs";
import { mkdir, mkdtemp, open, readdir, readFile, rm, statfs, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { KiB, MiB } from "#/lib/units.ts";
import { mountTmpfs } from "../support/file-systems.ts";
import { MicaProcess } from "../support/mica-process.ts";

const run = promisify(execFile);
const TMPFS_BYTES = 64 * MiB;
const OCTETS = { "content-type": "application/octet-stream" };
const LATEST = { "openstack-api-version": "volume 3.70" };

describe("a full pool of images", () => {
  const roles = { small: ["images"], large: ["volumes"] };

  it("refuses an upload that is announced as larger: 413, before its first byte", async () => {
    await using world = await World.open(roles);
    const { status, id } = await world.upload(new Uint8Array(2 * TMPFS_BYTES));
    assert.equal(status, 413);
    await world.assertQueued(id);
    await world.assertAsBefore();
    await world.assertSmallUploadWorks(id);
  });

  it("ends an upload of unknown length in the middle: 413", async () => {
    await using world = await World.open(roles);
    const { status, id } = await world.upload(chunks(2 * TMPFS_BYTES));
    assert.equal(status, 413);
    await world.assertQueued(id);
    await world.assertAsBefore();
    await world.assertSmallUploadWorks(id);
  });

  it("ends an upload in the middle when others take the space that it was promised: 413", async () => {
    await using world = await World.open(roles);
    const filling = world.fill();
    const { status, id } = await world.upload(chunks(TMPFS_BYTES / 2, 20), { "x-openstack-image-size": String(TMPFS_BYTES / 2) });
    const filler = await filling;
    assert.equal(status, 413);
    await filler.remove();
    await world.assertQueued(id);
    await world.assertAsBefore();
    await world.assertSmallUploadWorks(id);
  });

  for (const filled of [false, true]) {
    it(`ends an image from a volume${filled ? " in the middle, when others take the space" : " that is larger"}: no image, and the volume as before`, async () => {
      await using world = await World.open(roles);
      const source = await world.activeImage(await repetitive(filled ? TMPFS_BYTES - 4 * MiB : 2 * TMPFS_BYTES));
      const volume = await world.volumeFrom(source);
      assert.equal(volume.status, "available");
      const filling = filled ? world.fill() : undefined;
      const imageId = await world.beginImageOf(volume.id);
      await world.mica.until(
        () => world.volume(volume.id),
        ({ status }) => status !== "uploading",
      );
      await (await filling)?.remove();
      assert.equal((await world.volume(volume.id)).status, "available");
      assert.equal((await world.mica.ask("GET", `/image/v2/images/${imageId}`)).status, 404);
      assert.match((await world.messages()).at(0)?.user_message ?? "", /^copy volume to image:Failed to upload volume to image/);
      await world.assertAuditClean();
      const smaller = await world.volumeFrom(await world.activeImage(await repetitive(2 * MiB)));
      const smallerImage = await world.beginImageOf(smaller.id);
      await world.mica.until(
        () => world.image(smallerImage),
        ({ status }) => status === "active",
      );
      await world.assertAuditClean();
    });
  }
});

describe("a full pool of volumes", () => {
  const roles = { small: ["volumes"], large: ["images", "cache"] };

  for (const filled of [false, true]) {
    it(`ends a volume from an image${filled ? " in the middle, when others take the space" : " that is larger"}: status error, a message, and no bytes`, async () => {
      await using world = await World.open(roles);
      const imageId = await world.activeImage(await repetitive(filled ? TMPFS_BYTES - 4 * MiB : 2 * TMPFS_BYTES));
      const filling = filled ? world.fill() : undefined;
      const making = await world.beginVolumeFrom(imageId);
      const made = await world.mica.until(
        () => world.volume(making),
        ({ status }) => status !== "creating",
      );
      await (await filling)?.remove();
      assert.equal(made.status, "error");
      assert.match((await world.messages()).at(0)?.user_message ?? "", /exceeds available space/);
      await world.assertAsBefore();
      await world.delete(making);
      await world.assertNothingUsed();
      const smaller = await world.volumeFrom(await world.activeImage(await repetitive(2 * MiB)));
      assert.equal(smaller.status, "available");
      await world.assertAuditClean();
    });
  }
});

/** A Mica with two pools: `small` on a tmpfs, and `large` on the disk of the temporary folder. */
class World implements AsyncDisposable {
  readonly mica: MicaProcess;
  readonly #small: string;
  readonly #stack: AsyncDisposableStack;
  #freeBytes = 0;

  private constructor(mica: MicaProcess, small: string, stack: AsyncDisposableStack) {
    this.mica = mica;
    this.#small = small;
    this.#stack = stack;
  }

  static async open(roles: Record<"small" | "large", readonly string[]>): Promise<World> {
    await using stack = new AsyncDisposableStack();
    const dataDir = await mkdtemp(join(tmpdir(), "mica-full-"));
    stack.defer(() => rm(dataDir, { recursive: true, force: true }));
    const { path } = stack.use(await mountTmpfs(TMPFS_BYTES));
    await mkdir(join(path, "pool"));
    const pools = [
      { name: "small", path: join(path, "pool"), roles: roles.small, overSubscriptionRatioMax: 100 },
      { name: "large", path: "pools/large", roles: roles.large },
    ];
    await writeFile(join(dataDir, "mica.json"), JSON.stringify({ pools }));
    const mica = stack.use(await MicaProcess.start({ dataDir }));
    const world = new World(mica, path, stack.move());
    world.#freeBytes = await world.#free();
    return world;
  }

  async upload(body: Uint8Array | ReadableStream, headers = {}): Promise<{ status: number; id: string }> {
    const { id } = await this.mica.json("POST", "/image/v2/images", { body: { disk_format: "raw", container_format: "bare" } });
    return { status: await this.#put(id, body, headers), id };
  }

  async activeImage(qcow2: Uint8Array): Promise<string> {
    const { id } = await this.mica.json("POST", "/image/v2/images", { body: { disk_format: "qcow2", container_format: "bare" } });
    assert.equal(await this.#put(id, qcow2), 204);
    return id;
  }

  async #put(id: string, body: Uint8Array | ReadableStream, headers = {}): Promise<number> {
    const response = await this.mica.ask("PUT", `/image/v2/images/${id}/file`, { body, headers: { ...OCTETS, ...headers } });
    await response.text();
    return response.status;
  }

  image(id: string) {
    return this.mica.json("GET", `/image/v2/images/${id}`);
  }

  async volume(id: string) {
    return (await this.mica.json("GET", `/volume/v3/volumes/${id}`, { headers: LATEST })).volume;
  }

  async beginVolumeFrom(imageId: string): Promise<string> {
    const body = { volume: { size: 1, imageRef: imageId } };
    return (await this.mica.json("POST", "/volume/v3/volumes", { body, headers: LATEST })).volume.id;
  }

  async volumeFrom(imageId: string) {
    const id = await this.beginVolumeFrom(imageId);
    return this.mica.until(
      () => this.volume(id),
      ({ status }) => status !== "creating",
    );
  }

  async beginImageOf(volumeId: string): Promise<string> {
    const body = { "os-volume_upload_image": { image_name: "captured", disk_format: "raw" } };
    const answer = await this.mica.json("POST", `/volume/v3/volumes/${volumeId}/action`, { body, headers: LATEST });
    return answer["os-volume_upload_image"].image_id;
  }

  async delete(volumeId: string): Promise<void> {
    await this.mica.json("DELETE", `/volume/v3/volumes/${volumeId}`, { headers: LATEST, status: 202 });
    await this.mica.until(
      async () => (await this.mica.ask("GET", `/volume/v3/volumes/${volumeId}`, { headers: LATEST })).status,
      (status) => status === 404,
    );
  }

  async messages(): Promise<{ user_message: string }[]> {
    return (await this.mica.json("GET", "/volume/v3/messages", { headers: LATEST })).messages;
  }

  /** Waits until the small pool gets one more disk, then takes all the space that is left, as another program would. */
  async fill(): Promise<{ remove(): Promise<void> }> {
    const there = readdirSync(join(this.#small, "pool"));
    while ((await readdir(join(this.#small, "pool"))).every((name) => there.includes(name))) await sleep(1);
    const path = join(this.#small, "filler");
    await using file = await open(path, "w");
    const block = Buffer.alloc(256 * KiB, 1);
    for (;;) {
      const full = await file.write(block).then(({ bytesWritten }) => bytesWritten < block.length, isFull);
      if (full) return { remove: () => rm(path) };
    }
  }

  async assertQueued(id: string): Promise<void> {
    const { status, size } = await this.image(id);
    assert.deepEqual([status, size], ["queued", null]);
  }

  async assertSmallUploadWorks(id: string): Promise<void> {
    assert.equal(await this.#put(id, randomBytes(4 * MiB)), 204);
    assert.equal((await this.image(id)).status, "active");
    await this.assertAuditClean();
  }

  /** The small pool has the bytes that it had in the beginning, and the records agree with it. */
  async assertAsBefore(): Promise<void> {
    await this.assertAuditClean();
    const lostBytes = this.#freeBytes - (await this.#free());
    assert.ok(lostBytes < 256 * KiB, `${lostBytes} bytes are left over`);
  }

  async assertNothingUsed(): Promise<void> {
    const { limits } = await this.mica.json("GET", "/volume/v3/limits", { headers: LATEST });
    assert.deepEqual([limits.absolute.totalVolumesUsed, limits.absolute.totalGigabytesUsed], [0, 0]);
  }

  async assertAuditClean(): Promise<void> {
    const { code, output } = await this.mica.audit();
    assert.equal(code, 0, output);
  }

  async #free(): Promise<number> {
    const { bfree, bsize } = await statfs(this.#small);
    return bfree * bsize;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.mica.stop();
    await this.#stack.disposeAsync();
  }
}

function isFull(error: NodeJS.ErrnoException): true {
  if (error.code === "ENOSPC") return true;
  throw error;
}

/** A body without a length, in pieces of 1 MiB with pauses between them. */
function chunks(totalBytes: number, pauseMs = 0): ReadableStream {
  return ReadableStream.from(
    (async function* () {
      for (let sent = 0; sent < totalBytes; sent += MiB) {
        yield randomBytes(MiB);
        await sleep(pauseMs);
      }
    })(),
  );
}

/** A compressed qcow2 disk of 256 MiB with so many bytes of data, which take hundreds of times less space in it. */
async function repetitive(dataBytes: number): Promise<Uint8Array> {
  const folder = await mkdtemp(join(tmpdir(), "mica-repetitive-"));
  await using _ = { [Symbol.asyncDispose]: () => rm(folder, { recursive: true }) };
  const raw = join(folder, "disk.raw");
  const packed = join(folder, "disk.qcow2");
  {
    await using file = await open(raw, "w");
    await file.truncate(256 * MiB);
    for (let at = 0; at < dataBytes; at += MiB) await file.write(Buffer.alloc(MiB, 0x5a), 0, MiB, at);
  }
  await run("qemu-img", ["convert", "-c", "-f", "raw", "-O", "qcow2", raw, packed]);
  return await readFile(packed);
}
