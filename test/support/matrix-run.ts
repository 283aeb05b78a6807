import assert from "node:assert/strict";
import { randomFillSync } from "node:crypto";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { MiB, MINUTE_MS } from "#/lib/units.ts";
import { run } from "#/tools/run.ts";
import { MicaProcess, type MicaProcessOptions } from "./mica-process.ts";
import { FORMATS, MATRIX, type MatrixFormat, type SourcePlace, type TargetKind } from "./strategy-matrix.ts";
import type { WebServer } from "./web-server.ts";

/** One row of the matrix on real pools: which pool the volume goes to, and the image pools by their place as seen from it. */
export interface MatrixTarget {
  readonly kind: TargetKind;
  readonly pool: string;
  readonly from: Readonly<Partial<Record<SourcePlace, readonly string[]>>>;
}

export interface MatrixRun {
  readonly start: () => Promise<MicaProcessOptions & AsyncDisposable>;
  readonly targets: readonly MatrixTarget[];
  /** Has the images of the pool `web`, which takes no uploads. */
  readonly web?: WebServer;
  /** Of the images. */
  readonly size?: ImageSize;
}

interface ImageSize {
  readonly diskBytes: number;
  /** How much of it is neither hole nor zero. */
  readonly dataBytes: number;
}

/**
 * Creates two volumes of an image for each combination of pools and formats, and holds what happened against the matrix: the ways,
 * the bytes that were moved, and the content.
 */
export function matrixRun(name: string, { start, targets, web, size = { diskBytes: 64 * MiB, dataBytes: 12 * MiB } }: MatrixRun): void {
  describe(`on ${name}`, () => {
    let folder: string;
    let place: Awaited<ReturnType<MatrixRun["start"]>>;
    let mica: MicaProcess;
    const files: Record<MatrixFormat, string> = { raw: "", qcow2: "" };

    before(async () => {
      folder = await mkdtemp(join(tmpdir(), "mica-matrix-"));
      for (const format of FORMATS) files[format] = join(folder, `disk.${format}`);
      const content = Buffer.alloc(size.diskBytes);
      randomFillSync(content, size.diskBytes / 8, size.dataBytes);
      await writeFile(files.raw, content);
      await run("qemu-img", ["convert", "-f", "raw", "-O", "qcow2", files.raw, files.qcow2], { timeoutMs: MINUTE_MS });
      place = await start();
      mica = await MicaProcess.start(place);
      await mica.json("PUT", `/volume/v3/os-quota-sets/${await projectId(mica)}`, { body: { quota_set: { volumes: -1, gigabytes: -1 } } });
    });
    after(async () => {
      await mica?.[Symbol.asyncDispose]();
      await place?.[Symbol.asyncDispose]();
      await rm(folder, { recursive: true, force: true });
    });

    const imageIn = async (pool: string, format: MatrixFormat): Promise<string> => {
      if (!web || pool !== "web") return upload(mica, pool, files[format], format);
      web.files.set(`/disk.${format}`, { bytes: await readFile(files[format]) });
      return register(mica, `${web.url}/disk.${format}`, format);
    };

    for (const { kind, pool, from } of targets) {
      for (const [source, pools] of Object.entries(from) as [SourcePlace, readonly string[]][]) {
        for (const imagePool of pools) {
          for (const format of FORMATS) {
            it(`a ${format} image in ${imagePool} (${source}) becomes a volume in ${pool} (${kind})`, async () => {
              const expected = MATRIX[kind][source]?.[format];
              assert.ok(expected, "the matrix has this combination");
              const imageRef = await imageIn(imagePool, format);
              const type = await typeFor(mica, pool);
              const volumes: string[] = [];
              for (const strategy of expected) {
                const { volume } = await mica.json("POST", "/volume/v3/volumes", { body: { volume: { size: 1, imageRef, volume_type: type } } });
                volumes.push(volume.id);
                await assertWay(mica, volume.id, strategy, size);
              }
              // What the second one holds came by way of the first, or from where that came.
              await assertContent(mica, volumes.at(-1) ?? "", files.raw);
              for (const id of volumes) {
                await mica.json("DELETE", `/volume/v3/volumes/${id}`, { status: 202 });
              }
            });
          }
        }
      }
    }

    it("nothing is left over", async () => {
      const { code, output } = await mica.audit();
      assert.equal(code, 0, output);
    });
  });
}

async function projectId(mica: MicaProcess): Promise<string> {
  const { projects } = await mica.json("GET", "/identity/v3/auth/projects");
  return projects[0].id;
}

/** A volume type that names the pool. */
async function typeFor(mica: MicaProcess, pool: string): Promise<string> {
  const { volume_types: types } = await mica.json("GET", "/volume/v3/types");
  if (types.some((type: { name: string }) => type.name === pool)) return pool;
  await mica.json("POST", "/volume/v3/types", { body: { volume_type: { name: pool, extra_specs: { volume_backend_name: pool } } } });
  return pool;
}

async function upload(mica: MicaProcess, pool: string, file: string, format: MatrixFormat): Promise<string> {
  const { id } = await mica.json("POST", "/image/v2/images", { body: { name: pool, disk_format: format, container_format: "bare" } });
  const headers = { "content-type": "application/octet-stream", "x-image-meta-store": pool };
  const { status } = await mica.ask("PUT", `/image/v2/images/${id}/file`, { body: await readFile(file), headers });
  assert.equal(status, 204);
  return id;
}

async function register(mica: MicaProcess, url: string, format: MatrixFormat): Promise<string> {
  const { id } = await mica.json("POST", "/image/v2/images", { body: { name: url, disk_format: format, container_format: "bare" } });
  await mica.json("POST", `/image/v2/images/${id}/locations`, { body: { url } });
  const look = () => mica.json("GET", `/image/v2/images/${id}`);
  // Its hashes are made by reading it, which is not to be counted with what comes after.
  await mica.until(look, ({ status, os_hash_value: hash }) => status === "active" && hash !== null, 2 * MINUTE_MS);
  return id;
}

/** The volume became available in this way: nothing was moved where nothing had to be, and nothing was staged. */
async function assertWay(mica: MicaProcess, volumeId: string, strategy: string, { diskBytes, dataBytes }: ImageSize): Promise<void> {
  const look = async () => (await mica.json("GET", `/mica/v1/operations?subject=${volumeId}`)).operations[0];
  const { state, plan, actual, error } = await mica.until(look, (operation) => typeof operation?.endedAt === "string", 2 * MINUTE_MS);
  assert.equal(state, "done", JSON.stringify(error));
  assert.equal(actual.strategy, strategy, JSON.stringify(plan.passedOver, undefined, 1));
  assert.equal(actual.bytesTemporary ?? 0, 0);
  assert.equal(actual.fellBack, undefined);
  if (strategy === "clone" || strategy === "clone_cached") assert.equal(actual.bytesThroughUs ?? 0, 0);
  else assert.ok(actual.bytesThroughUs >= dataBytes && actual.bytesThroughUs <= diskBytes, `${actual.bytesThroughUs} bytes went through Mica`);
}

/** The volume begins with the content of the file, and is empty after it: seen by way of a qcow2 image of it, which is small. */
async function assertContent(mica: MicaProcess, volumeId: string, file: string): Promise<void> {
  const action = { "os-volume_upload_image": { image_name: "look", disk_format: "qcow2" } };
  const { "os-volume_upload_image": begun } = await mica.json("POST", `/volume/v3/volumes/${volumeId}/action`, { body: action });
  const path = `/image/v2/images/${begun.image_id}`;
  await mica.until(() => mica.json("GET", path), ({ status }) => status === "active", 2 * MINUTE_MS);
  const response = await mica.ask("GET", `${path}/file`);
  const seen = `${file}.seen`;
  await writeFile(seen, new Uint8Array(await response.arrayBuffer()));
  await run("qemu-img", ["compare", "-q", "-f", "raw", "-F", "qcow2", file, seen], { timeoutMs: MINUTE_MS });
  await mica.json("DELETE", path);
}
