import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import type { Session } from "#/api/test-server.ts";
import { TestWorld } from "#/api/volume/v3/test-world.ts";
import { insertDisk, setDiskReady } from "#/db/disks.ts";
import { updateImage } from "#/db/images.ts";
import type { DiskFormat } from "#/domain/disk.ts";
import { diskId, poolName } from "#/domain/ids.ts";
import { GiB, KiB, MiB } from "#/lib/units.ts";
import { dense, packed, put, writeNode } from "#/storage/contract/bench.ts";
import type { StorageDriver } from "#/storage/driver.ts";
import { FileDriver } from "#/storage/file/driver.ts";
import { mountMica } from "./test-world.ts";

const root = await mkdtemp(join(tmpdir(), "mica-maps-"));
after(() => rm(root, { recursive: true, force: true }));

async function openWorld({ base, store }: { base?: StorageDriver; store?: string } = {}) {
  const world = await TestWorld.open({}, {
    ...(base && { base }),
    ...(store !== undefined && { store }),
    mount: mountMica,
  });
  // biome-ignore lint/suspicious/noExplicitAny: tests look into bodies of every shape.
  const get = async (status: number, path: string, as: Session | undefined = world.alice): Promise<any> => {
    const answer = await world.server.request("GET", `/mica/v1${path}`, { token: as?.token });
    assert.equal(answer.statusCode, status, `${path}: ${answer.body}`);
    return answer.json();
  };
  const refusal = async (status: number, path: string, as?: Session): Promise<string> => (await get(status, path, as)).error.message;
  const pool = world.context.pools.get(poolName("local"));
  /** Has a guest write. */
  const write = async (volumeId: string, start: number, lengthBytes: number) => {
    const { disk_id: id } = await world.context.db.selectFrom("volume").select("disk_id").where("id", "=", volumeId).executeTakeFirstOrThrow();
    const node = await pool.open({ id: diskId(id ?? ""), format: "raw", virtualSizeBytes: GiB }, "write");
    await writeNode(node, 7, { start, end: start + lengthBytes });
  };
  return { world, get, refusal, pool, write, [Symbol.asyncDispose]: () => world[Symbol.asyncDispose]() };
}

const openOnFiles = async () => openWorld({ base: await FileDriver.open(await mkdtemp(join(root, "pool-"))) });

/** The disk of an image becomes another one, of that format. */
async function giveDisk(world: TestWorld, imageId: string, format: DiskFormat, bytes: Uint8Array, more: { packed?: DiskFormat } = {}): Promise<void> {
  const disk = { id: diskId(randomUUID()), pool: poolName("local"), format, virtualSizeBytes: MiB, holder: { kind: "image", id: imageId }, ...more } as const;
  await put(world.context.pools.get(disk.pool), disk, bytes);
  await world.context.db.transaction().execute(async (trx) => {
    await insertDisk(trx, disk, { reservedBytes: 0, nowMs: 0 });
    await setDiskReady(trx, disk.id);
    await updateImage(trx, imageId, { disk_id: disk.id });
  });
}

describe("GET /mica/v1/{images,volumes,snapshots}/{id}/extents", () => {
  it("says where a disk holds data, whatever it stands on", async () => {
    for (const open of [openWorld, openOnFiles]) {
      await using api = await open();
      const image = await api.world.makeImage();
      const volume = await api.world.makeVolume({ imageRef: image });
      const snapshot = await api.world.makeSnapshot(volume);
      const ofImage = [{ start: 0, end: 64 * KiB, kind: "data" }];
      const ofVolume = [...ofImage, { start: 64 * KiB, end: GiB, kind: "zero" }];
      for (const [path, extents] of [[`images/${image}`, ofImage], [`volumes/${volume}`, ofVolume], [`snapshots/${snapshot}`, ofVolume]] as const) {
        const { how, ...found } = (await api.get(200, `/${path}/extents`)).extents;
        const sizeBytes = extents.at(-1)?.end ?? 0;
        const [kinds = "", id] = path.split("/");
        const sums = { dataBytes: 64 * KiB, zeroBytes: sizeBytes - 64 * KiB };
        assert.deepEqual(found, { kind: kinds.slice(0, -1), id, sizeBytes, start: 0, end: sizeBytes, extents, ...sums });
        assert.match(how, open === openWorld ? /by reading/ : /nothing was read/);
      }
    }
  });

  it("gives it in pages, and of a part of the disk", async () => {
    await using api = await openOnFiles();
    const volume = await api.world.makeVolume();
    for (const start of [MiB, 3 * MiB, 512 * MiB]) await api.write(volume, start, 64 * KiB);
    const whole = (await api.get(200, `/volumes/${volume}/extents`)).extents;
    assert.deepEqual([whole.extents.length, whole.dataBytes, whole.next], [7, 192 * KiB, undefined]);
    const pages = [];
    for (let next: number | undefined = 0; next !== undefined; next = pages.at(-1)?.next) {
      pages.push((await api.get(200, `/volumes/${volume}/extents?limit=2&offset=${next}`)).extents);
    }
    assert.equal(pages.length, 4);
    assert.deepEqual(pages.flatMap((page) => page.extents), whole.extents);
    assert.deepEqual(pages.map(({ end }) => end), [MiB + 64 * KiB, 3 * MiB + 64 * KiB, 512 * MiB + 64 * KiB, GiB]);
    const part = (await api.get(200, `/volumes/${volume}/extents?offset=${MiB + 4096}&length=${MiB}`)).extents;
    assert.deepEqual([part.start, part.end, part.dataBytes, part.zeroBytes], [MiB + 4096, 2 * MiB + 4096, 60 * KiB, MiB - 60 * KiB]);
  });

  it("is of what a guest sees, in images of other formats too; compressed streams are refused", async () => {
    await using api = await openOnFiles();
    const image = await api.world.makeImage();
    const bytes = dense(MiB, 1).fill(0, 256 * KiB, 512 * KiB);
    await giveDisk(api.world, image, "qcow2", await packed(bytes));
    const { extents } = (await api.get(200, `/images/${image}/extents`)).extents;
    assert.deepEqual(extents.map(({ start, kind }: { start: number; kind: string }) => [start, kind]), [[0, "data"], [256 * KiB, "zero"], [512 * KiB, "data"]]);
    await giveDisk(api.world, image, "opaque", bytes, { packed: "qcow2" });
    assert.match(await api.refusal(501, `/images/${image}/extents`), /kept as a compressed stream/);
  });

  it("refuses in words", async () => {
    await using api = await openWorld();
    const [{ world }, nobody] = [api, randomUUID()];
    const [image, volume] = [await world.makeImage(), await world.makeVolume()];
    const mallory = await world.server.login("mallory", "elsewhere");
    const reader = await world.server.login("rita", "wonderland", ["reader"]);
    await api.get(401, `/volumes/${volume}/extents`, { token: "none", userId: "", projectId: "" });
    for (const path of [`/images/${image}/extents`, `/volumes/${volume}/extents`]) await api.get(404, path, mallory);
    for (const kind of ["images", "volumes", "snapshots"]) await api.get(404, `/${kind}/${nobody}/extents`);
    await api.get(200, `/volumes/${volume}/extents`, reader);
    assert.match(await api.refusal(403, `/images/${image}/extents`, reader), /may not download/);
    for (const query of ["limit=0", "limit=10001", "offset=-1", "length=0", "offset=x", "other=1"]) await api.get(400, `/volumes/${volume}/extents?${query}`);
    assert.match(await api.refusal(400, `/volumes/${volume}/extents?offset=${2 * GiB}`), /ends at byte 1073741824/);
    const queued = await world.makeImage({ diskId: null, status: "queued" });
    assert.match(await api.refusal(409, `/images/${queued}/extents`), /no disk that is whole: wait until it is active/);
    const ofVolumes = await world.makeImage({ diskId: null, status: "active" });
    assert.match(await api.refusal(409, `/images/${ofVolumes}/extents`), /stands for snapshots of volumes, which have maps/);
  });
});

describe("GET /mica/v1/{images,volumes,snapshots}/{id}/changes", () => {
  it("says what has changed since a snapshot, since the image, and between two snapshots", async () => {
    await using api = await openOnFiles();
    const image = await api.world.makeImage();
    const volume = await api.world.makeVolume({ imageRef: image });
    await api.write(volume, MiB, 64 * KiB);
    const first = await api.world.makeSnapshot(volume);
    await api.write(volume, 8 * MiB, 128 * KiB);
    const second = await api.world.makeSnapshot(volume);
    const [a, b] = [{ start: MiB, end: MiB + 64 * KiB }, { start: 8 * MiB, end: 8 * MiB + 128 * KiB }];
    for (const [path, since, changes] of [
      [`volumes/${volume}`, { kind: "snapshot", id: first }, [b]],
      [`volumes/${volume}`, { kind: "snapshot", id: second }, []],
      [`volumes/${volume}`, { kind: "image", id: image }, [a, b]],
      [`snapshots/${second}`, { kind: "snapshot", id: first }, [b]],
      [`snapshots/${first}`, { kind: "volume", id: volume }, [b]],
    ] as const) {
      const { how, sizeBytes, ...found } = (await api.get(200, `/${path}/changes?since=${since.id}`)).changes;
      const [kinds = "", id] = path.split("/");
      const changedBytes = changes.reduce((bytes, { start, end }) => bytes + end - start, 0);
      assert.deepEqual(found, { kind: kinds.slice(0, -1), id, since, start: 0, end: GiB, changes, changedBytes });
      assert.match(how, /overlays above the disk that both read through/);
    }
    const page = (await api.get(200, `/volumes/${volume}/changes?since=${image}&limit=1`)).changes;
    assert.deepEqual([page.changes, page.changedBytes, page.end, page.next], [[a], 64 * KiB, b.start, b.start]);
    const rest = (await api.get(200, `/volumes/${volume}/changes?since=${image}&limit=1&offset=${page.next}`)).changes;
    assert.deepEqual([rest.changes, rest.next], [[b], undefined]);
  });

  it("works with pieces in memory", async () => {
    await using api = await openWorld();
    const image = await api.world.makeImage();
    const volume = await api.world.makeVolume({ imageRef: image });
    const { changes, how } = (await api.get(200, `/volumes/${volume}/changes?since=${image}`)).changes;
    assert.deepEqual(changes, []);
    assert.match(how, /pieces that both still share/);
  });

  it("refuses in words", async () => {
    await using api = await openOnFiles();
    const { world } = api;
    const [image, volume, other] = [await world.makeImage(), await world.makeVolume(), await world.makeVolume()];
    const mallory = await world.server.login("mallory", "elsewhere");
    await api.get(400, `/volumes/${volume}/changes`);
    assert.match(await api.refusal(404, `/volumes/${volume}/changes?since=${randomUUID()}`), /no snapshot, volume or image .* to compare with/);
    assert.match(await api.refusal(501, `/volumes/${volume}/changes?since=${other}`), /read through no common disk/);
    await api.get(404, `/volumes/${volume}/changes?since=${other}`, mallory);
    await giveDisk(world, image, "qcow2", await packed(dense(MiB, 1)));
    assert.match(await api.refusal(501, `/volumes/${volume}/changes?since=${image}`), /kept as qcow2 has other bytes than a guest sees/);
  });

  it("refuses what lies in another pool that shares nothing", async () => {
    await using api = await openWorld({ store: "elsewhere" });
    const [image, volume] = [await api.world.makeImage(), await api.world.makeVolume()];
    await api.world.context.db.updateTable("disk").set({ pool: "elsewhere" }).where("id", "=", image).execute();
    assert.match(await api.refusal(501, `/volumes/${volume}/changes?since=${image}`), /is in pool "elsewhere", which shares nothing with pool "local"/);
  });
});
