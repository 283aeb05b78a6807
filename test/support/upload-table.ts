/** Every form that a volume's bytes can take as an image, and the way back, on a driver: made by the real sagas, read by the real qemu-img. */
import assert from "node:assert/strict";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { gunzipSync, zstdDecompressSync } from "node:zlib";
import { getDisk } from "#/db/disks.ts";
import { fileNode } from "#/domain/block-node.ts";
import type { ImageForm } from "#/domain/compression.ts";
import type { DiskFormat } from "#/domain/disk.ts";
import { diskId } from "#/domain/ids.ts";
import { StreamInspector } from "#/format/inspect.ts";
import { MiB } from "#/lib/units.ts";
import type { Strategy } from "#/planner/plan.ts";
import type { Actual } from "#/saga/context.ts";
import { createVolume } from "#/saga/create-volume.ts";
import { fillCache } from "#/saga/fill-cache.ts";
import { flattenDisk } from "#/saga/flatten-disk.ts";
import { freezeDisk } from "#/saga/freeze-disk.ts";
import { hashImage } from "#/saga/hash-image.ts";
import { uploadVolume } from "#/saga/upload-volume.ts";
import type { StorageDriver } from "#/storage/driver.ts";
import * as qemuImg from "#/tools/qemu-img.ts";
import { run } from "#/tools/run.ts";
import { SagaWorld, someContent } from "./saga-world.ts";

const SIZE_BYTES = 8 * MiB;

/** `inPool`: the ways that are right where the image stays in the volume's pool. Elsewhere nothing is shared, and all is converted. */
interface Row {
  readonly form: ImageForm;
  readonly inPool: readonly Strategy[];
  /** What `qemu-img info` says of the format. */
  readonly qemuInfo?: object;
}

const CONVERTED = ["stream_convert", "staged_convert"] as const;
const ROWS: readonly Row[] = [
  { form: { diskFormat: "raw" }, inPool: ["adopt", "clone", "offload_copy", "stream_convert"] },
  { form: { diskFormat: "qcow2" }, inPool: CONVERTED, qemuInfo: { "compression-type": "zlib" } },
  { form: { diskFormat: "qcow2", clusters: "zlib" }, inPool: CONVERTED, qemuInfo: { "compression-type": "zlib" } },
  { form: { diskFormat: "qcow2", clusters: "zstd" }, inPool: CONVERTED, qemuInfo: { "compression-type": "zstd" } },
  { form: { diskFormat: "vmdk" }, inPool: CONVERTED, qemuInfo: { "create-type": "monolithicSparse" } },
  { form: { diskFormat: "vmdk", clusters: "zlib" }, inPool: CONVERTED, qemuInfo: { "create-type": "streamOptimized" } },
  { form: { diskFormat: "vdi" }, inPool: CONVERTED },
  { form: { diskFormat: "vhd" }, inPool: CONVERTED },
  { form: { diskFormat: "vhdx" }, inPool: CONVERTED },
  { form: { diskFormat: "raw", stream: "gzip" }, inPool: ["stream_convert"] },
  { form: { diskFormat: "raw", stream: "zstd" }, inPool: ["stream_convert"] },
  { form: { diskFormat: "qcow2", stream: "gzip" }, inPool: ["staged_convert"] },
  { form: { diskFormat: "vhdx", stream: "zstd" }, inPool: ["staged_convert"] },
];

export interface UploadTable {
  readonly open: () => Promise<StorageDriver>;
  /** What the volume is: `overlay` reads through another disk. */
  readonly sources: readonly ("plain disk" | "overlay")[];
  /** Where the image goes: the volume's own pool, or one in memory that no tool reaches. */
  readonly stores: readonly ("own" | "elsewhere")[];
}

export function uploadTable(name: string, { open, sources, stores }: UploadTable): void {
  describe(`volumes on ${name} become images, and images volumes:`, () => {
    const content = someContent(SIZE_BYTES);
    let folder: string;
    before(async () => {
      folder = await mkdtemp(join(tmpdir(), "mica-uploads-"));
    });
    after(() => rm(folder, { recursive: true }));

    for (const { form, inPool, qemuInfo = {} } of ROWS) {
      for (const source of sources) {
        for (const store of stores) {
          it(`${wordsFor(form)} of the ${source}, in ${store === "own" ? "its own pool" : "a pool elsewhere"}`, async () => {
            await using world = await SagaWorld.open({ driver: await open(), sagas: [createVolume, fillCache, flattenDisk, hashImage, uploadVolume] });
            const volumeId = await world.addVolume({}, content);
            if (source === "overlay") await freezeDisk(world.services, diskId(volumeId), diskId(FROZEN), { kind: "ancestor", id: FROZEN });
            const { imageId, actual, strategy } = await upload(world, volumeId, form, store === "own" ? "fast" : "slow");
            if (store === "own") assert.ok(inPool.includes(strategy), strategy);
            assert.equal(actual.strategy, strategy);
            assert.deepEqual(await readdir(world.services.limits.staging.dir), []);

            const image = await world.image(imageId);
            assert.deepEqual([image?.status, image?.virtual_size_bytes], ["active", SIZE_BYTES]);
            const stored = await world.content(image?.disk_id, image?.size_bytes ?? 0);
            await assertDisk(unpacked(stored, form), { form, content, folder, qemuInfo });
            assert.equal((await getDisk(world.db, diskId(imageId))).parent, undefined, "the image stands alone");
            if (form.clusters || form.stream) assert.ok(stored.length < (3 / 4) * SIZE_BYTES, `${stored.length} bytes`);

            const again = await volumeOf(world, imageId);
            assert.ok(Buffer.concat([content, Buffer.alloc(SIZE_BYTES)]).equals(await world.content(again, 2 * SIZE_BYTES)), "the way back");
            assert.ok(content.equals(await world.content(volumeId, SIZE_BYTES)), "the volume is as it was");
            await world.assertAuditClean();
          });
        }
      }
    }
  });
}

const FROZEN = "7e0f7a7b-6f7c-4a86-8a3d-9e5d0f0f0a01";

function wordsFor({ diskFormat, clusters, stream }: ImageForm): string {
  if (stream) return `${diskFormat} in ${stream}`;
  return clusters ? `${diskFormat} with ${clusters} clusters` : diskFormat;
}

async function upload(world: SagaWorld, volumeId: string, form: ImageForm, store: string) {
  const plan = await world.planImage(volumeId, form, store);
  const imageId = await world.addQueuedImage(form.diskFormat, form.stream ? "compressed" : "bare");
  await world.db.updateTable("volume").set({ status: "uploading" }).where("id", "=", volumeId).execute();
  const meta = { projectId: "project", userId: "user", requestId: "req-1", subject: { kind: "volume", id: volumeId }, plan };
  const params = { volumeId, imageId, previousStatus: "available" };
  const ended = await world.runner.run(await world.db.transaction().execute((trx) => world.runner.begin(trx, uploadVolume, params, meta)));
  assert.deepEqual([ended.state, ended.error_message], ["done", null]);
  await world.settle();
  return { imageId, strategy: plan.strategy as Strategy, actual: JSON.parse(ended.actual ?? "{}") as Actual };
}

async function volumeOf(world: SagaWorld, imageId: string): Promise<string> {
  const plan = await world.planVolume({ kind: "image", id: imageId }, 2 * SIZE_BYTES);
  const volumeId = await world.addVolume({ size_bytes: 2 * SIZE_BYTES });
  const meta = { projectId: "project", userId: "user", requestId: "req-1", subject: { kind: "volume", id: volumeId }, plan };
  const ended = await world.runner.run(await world.db.transaction().execute((trx) => world.runner.begin(trx, createVolume, { volumeId }, meta)));
  assert.deepEqual([ended.state, ended.error_message], ["done", null]);
  return volumeId;
}

function unpacked(stored: Buffer, { stream }: ImageForm): Buffer {
  if (!stream) return stored;
  return stream === "gzip" ? gunzipSync(stored) : zstdDecompressSync(stored);
}

interface Expected {
  readonly form: ImageForm;
  readonly content: Buffer;
  readonly folder: string;
  readonly qemuInfo: object;
}

/** Our inspector lets it through, qemu-img takes it for what it is said to be, and a guest sees the content. */
async function assertDisk(bytes: Buffer, { form: { diskFormat }, content, folder, qemuInfo }: Expected): Promise<void> {
  const inspector = new StreamInspector();
  inspector.update(bytes);
  const { problems, format, virtualSizeBytes } = inspector.finish();
  assert.deepEqual([problems, format, virtualSizeBytes], [[], diskFormat, SIZE_BYTES]);
  const [disk, raw] = [join(folder, `disk.${diskFormat}`), join(folder, "guest.raw")];
  await writeFile(disk, bytes);
  await writeFile(raw, Buffer.alloc(SIZE_BYTES));
  const node = fileNode(disk, diskFormat);
  const facts = await qemuFacts(disk, diskFormat);
  for (const [name, value] of Object.entries(qemuInfo)) assert.equal(facts[name], value, name);
  await qemuImg.convert(node, fileNode(raw, "raw"));
  assert.ok(content.equals(await readFile(raw)), "a guest sees the content");
}

/** The format's own part of `qemu-img info`. */
async function qemuFacts(path: string, format: DiskFormat): Promise<Record<string, unknown>> {
  const { stdout } = await run("qemu-img", ["info", "--output=json", "-f", format === "vhd" ? "vpc" : format, path], { timeoutMs: 30_000 });
  return JSON.parse(stdout)["format-specific"]?.data ?? {};
}
