/**
 * Which files a server's root disk and its base are, by configuration and file system: Nova's tables of `use_cow_images` and `images_type`
 * (Folsom to Havana), as they come out here. Needs root, since it mounts file systems.
 */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { mkdtemp, readdir, readFile, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { Materialise } from "#/app/materialise.ts";
import type { ImagesType } from "#/config/servers.ts";
import { GiB, MiB } from "#/lib/units.ts";
import { createServer } from "#/saga/create-server.ts";
import { deleteServer } from "#/saga/delete-server.ts";
import { makeFileSystem } from "#/tools/mkfs.ts";
import { run } from "#/tools/run.ts";
import { type MountedFileSystem, mountNew } from "../support/file-systems.ts";
import { someContent } from "../support/saga-world.ts";
import { ServerWorld } from "../support/server-world.ts";

await using mounts = new AsyncDisposableStack();
const xfs = mounts.use(await mountNew("xfs"));
const ext4 = mounts.use(await mountNew("ext4"));
const kept = mounts.move();
after(() => kept.disposeAsync());

const IMAGE_BYTES = 4 * MiB;
const content = someContent(IMAGE_BYTES);

interface Row {
  readonly imagesType: ImagesType;
  readonly useCowImages: boolean;
  readonly on: "ext4" | "XFS";
  /** The root disk: a qcow2 overlay on the base, or a raw file, whose blocks are the base's or its own. */
  readonly root: "overlay" | "shared" | "own";
  /** Whether the image's bytes are kept for the next server. */
  readonly hasBase: boolean;
}

/** Without overlays and without shared blocks a base would only be a copy more: each server is one conversion, as large as its data. */
const TABLE: readonly Row[] = [
  { imagesType: "default", useCowImages: true, on: "ext4", root: "overlay", hasBase: true },
  { imagesType: "default", useCowImages: false, on: "ext4", root: "own", hasBase: false },
  { imagesType: "qcow2", useCowImages: false, on: "ext4", root: "overlay", hasBase: true },
  { imagesType: "flat", useCowImages: true, on: "ext4", root: "own", hasBase: false },
  { imagesType: "raw", useCowImages: true, on: "ext4", root: "own", hasBase: false },
  { imagesType: "default", useCowImages: true, on: "XFS", root: "shared", hasBase: true },
  { imagesType: "default", useCowImages: false, on: "XFS", root: "shared", hasBase: true },
  { imagesType: "qcow2", useCowImages: true, on: "XFS", root: "shared", hasBase: true },
  { imagesType: "flat", useCowImages: true, on: "XFS", root: "shared", hasBase: true },
];

interface StoredFile {
  readonly name: string;
  readonly sizeBytes: number;
  readonly allocatedBytes: number;
}

async function filesIn(folder: string): Promise<StoredFile[]> {
  const names = (await readdir(folder)).filter((name) => /\.(disk|overlay|partial)$/.test(name));
  return Promise.all(
    names.map(async (name) => {
      const { size, blocks } = await stat(join(folder, name));
      return { name, sizeBytes: size, allocatedBytes: blocks * 512 };
    }),
  );
}

async function makeServer(world: ServerWorld, imageId: string, { imagesType, useCowImages }: Pick<Row, "imagesType" | "useCowImages">, sizeBytes = GiB): Promise<string> {
  const plan = await new Materialise(world.sagas.services).planServerDisk({ source: { kind: "image", id: imageId }, sizeBytes, imagesType, useCowImages });
  const deviceId = randomUUID();
  const serverId = await world.addServer({ image_id: imageId }, [{ id: deviceId, source_id: imageId, size_bytes: sizeBytes }]);
  await world.run(createServer, { serverId, disks: [{ deviceId, plan }], volumes: [] });
  await world.assertState(serverId, "active");
  return serverId;
}

/** The files of a new server's root disk, and what they must be. */
async function assertRoot(folder: string, added: readonly StoredFile[], { root }: Row): Promise<void> {
  assert.equal(added.length, 1);
  const { name, sizeBytes, allocatedBytes } = added[0] as StoredFile;
  assert.match(name, root === "overlay" ? /\.overlay$/ : /\.disk$/);
  if (root === "overlay") {
    const { stdout } = await run("qemu-img", ["info", "-U", "--output=json", "-f", "qcow2", join(folder, name)], { timeoutMs: 10_000 });
    const facts = JSON.parse(stdout);
    assert.deepEqual([facts.format, facts["virtual-size"], facts["backing-filename-format"]], ["qcow2", GiB, "raw"]);
    assert.ok(allocatedBytes < MiB, `${allocatedBytes} bytes`);
    return;
  }
  assert.equal(sizeBytes, GiB);
  assert.ok(allocatedBytes <= IMAGE_BYTES + MiB, `sparse: ${allocatedBytes} bytes`);
}

async function usedBytes({ path }: MountedFileSystem): Promise<number> {
  await run("sync", ["-f", path], { timeoutMs: 60_000 });
  const { stdout } = await run("df", ["--output=used", "-B1", path], { timeoutMs: 10_000 });
  return Number(stdout.trim().split("\n").at(-1));
}

describe("server disks are", () => {
  for (const row of TABLE) {
    const { imagesType, useCowImages, on, root, hasBase } = row;
    const says = { overlay: "an overlay on the base", shared: "a raw file of the base's blocks", own: "a raw file of their own" }[root];
    it(`${says} with imagesType ${imagesType}, useCowImages ${useCowImages}, on ${on}`, async () => {
      const fileSystem = on === "XFS" ? xfs : ext4;
      const folder = await mkdtemp(join(fileSystem.path, "pool-"));
      await using world = await ServerWorld.open({ folder });
      const imageId = await world.sagas.addImage(content, { pool: "slow" });
      const first = await makeServer(world, imageId, row);
      const afterFirst = await filesIn(folder);
      const base = afterFirst.filter(({ sizeBytes, name }) => name.endsWith(".disk") && sizeBytes === IMAGE_BYTES);
      assert.equal(base.length, hasBase ? 1 : 0, "the base is raw, as large as the image, and there once");
      assert.ok(base.every(({ allocatedBytes }) => allocatedBytes < IMAGE_BYTES), "and sparse");
      await assertRoot(folder, afterFirst.filter((file) => !base.includes(file)), row);

      const before = await usedBytes(fileSystem);
      const second = await makeServer(world, imageId, row);
      const added = (await filesIn(folder)).filter(({ name }) => !afterFirst.some((file) => file.name === name));
      await assertRoot(folder, added, row);
      const grown = (await usedBytes(fileSystem)) - before;
      if (root !== "own") assert.ok(grown < MiB, `the second server takes ${grown} bytes, none of the image's`);

      for (const serverId of [first, second]) assert.equal((await world.run(deleteServer, { serverId })).state, "done");
      assert.deepEqual((await filesIn(folder)).map(({ name }) => name), base.map(({ name }) => name), "only the base stays");
      await world.sagas.assertAuditClean();
    });
  }
});

it("server disks take all their space at once with preallocateImages space, overlays too; one that has no room is refused, and leaves nothing", async () => {
  const folder = await mkdtemp(join(ext4.path, "pool-"));
  await using world = await ServerWorld.open({ folder, preallocateImages: "space" });
  const imageId = await world.sagas.addImage(content, { pool: "slow" });
  const row = { imagesType: "default", useCowImages: true } as const;
  const [before, free] = [await filesIn(folder), GiB / 4];
  const serverId = await makeServer(world, imageId, row, free);
  const [disk] = (await filesIn(folder)).filter(({ name }) => name.endsWith(".overlay"));
  assert.ok((disk?.allocatedBytes ?? 0) >= free, `${disk?.allocatedBytes} bytes`);
  await assert.rejects(makeServer(world, imageId, row, 2 * GiB), /No space left|are free/);
  assert.equal((await world.run(deleteServer, { serverId })).state, "done");
  await world.sagas.assertAuditClean();
  assert.equal(before.length, 0);
});

it("server disks that are overlays have their file systems grown with resizeFsUsingBlockDevice, and leave no mount behind", async () => {
  const folder = await mkdtemp(join(ext4.path, "pool-"));
  await using world = await ServerWorld.open({ folder, resizeFsUsingBlockDevice: true });
  const seed = join(folder, "..", `${randomUUID()}.seed`);
  await writeFile(seed, Buffer.alloc(16 * MiB));
  await makeFileSystem(seed, { kind: "ext4" });
  const imageId = await world.sagas.addImage(await readFile(seed), { pool: "slow" });
  await makeServer(world, imageId, { imagesType: "default", useCowImages: true }, 256 * MiB);
  const [disk] = (await filesIn(folder)).filter(({ name }) => name.endsWith(".overlay"));
  assert.ok(disk);
  const whole = join(folder, "..", `${randomUUID()}.raw`);
  await run("qemu-img", ["convert", "-f", "qcow2", "-O", "raw", join(folder, disk.name), whole], { timeoutMs: 60_000 });
  const { stdout } = await run("dumpe2fs", ["-h", whole], { timeoutMs: 10_000 });
  const [blocks, blockBytes] = ["Block count", "Block size"].map((name) => Number(new RegExp(`^${name}:\\s+(\\d+)$`, "m").exec(stdout)?.[1]));
  assert.equal((blocks ?? 0) * (blockBytes ?? 0), 256 * MiB);
  await run("e2fsck", ["-fn", whole], { timeoutMs: 60_000 });
  assert.doesNotMatch(await readFile("/proc/mounts", "utf8"), /mica-view-/);
  assert.deepEqual((await readdir(tmpdir())).filter((name) => name.startsWith("mica-view-")), []);
});
