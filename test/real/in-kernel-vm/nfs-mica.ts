/** Mica with pools on one NFS export: images and volumes share bytes. Runs inside the guest of `kernel-vm.sh`: `nfs.test.ts` starts it. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdtemp, open, readdir, readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { it } from "node:test";
import { MiB, MINUTE_MS } from "#/lib/units.ts";
import { run } from "#/tools/run.ts";
import { MicaProcess } from "../../support/mica-process.ts";
import { NfsServer, sentMeanwhile } from "../support/nfs-server.ts";

const server = await NfsServer.start(["xfs"]);
const xfs = await server.mount("xfs");

/** Mica with two pools in folders of one export. A start takes seconds here, and more on a busy machine. */
async function startMica() {
  const folder = await mkdtemp(join(xfs, "pools-"));
  const pools = [
    { name: "images", driver: "nfs", path: join(folder, "images"), roles: ["images"] },
    { name: "volumes", driver: "nfs", path: join(folder, "volumes"), roles: ["volumes", "cache"] },
  ];
  const mica = await MicaProcess.start({ env: { MICA_POOLS: JSON.stringify(pools) }, startLimitMs: 3 * MINUTE_MS });
  return { mica, volumes: join(folder, "volumes"), [Symbol.asyncDispose]: () => mica[Symbol.asyncDispose]() };
}

async function upload(mica: MicaProcess, diskFormat: string, body: Uint8Array): Promise<string> {
  const { id } = await mica.json("POST", "/image/v2/images", { body: { name: "disk", disk_format: diskFormat, container_format: "bare" } });
  const { status } = await mica.ask("PUT", `/image/v2/images/${id}/file`, { body, headers: { "content-type": "application/octet-stream" } });
  assert.equal(status, 204);
  return id;
}

async function beginVolume(mica: MicaProcess, imageRef: string): Promise<string> {
  return (await mica.json("POST", "/volume/v3/volumes", { body: { volume: { size: 1, imageRef } } })).volume.id;
}

async function assertAvailable(mica: MicaProcess, id: string): Promise<void> {
  const look = async () => (await mica.json("GET", `/volume/v3/volumes/${id}`)).volume;
  const made = await mica.until(look, ({ status }) => status !== "creating", 2 * MINUTE_MS);
  assert.equal(made.status, "available");
}

async function compressed(content: Uint8Array): Promise<Uint8Array> {
  const folder = await mkdtemp(join(tmpdir(), "mica-qcow2-"));
  const [raw, packed] = [join(folder, "disk.raw"), join(folder, "disk.qcow2")];
  await writeFile(raw, content);
  await run("qemu-img", ["convert", "-c", "-f", "raw", "-O", "qcow2", raw, packed], { timeoutMs: MINUTE_MS });
  return readFile(packed);
}

it("a volume of an image is one CLONE on the server; one that is being converted when Mica is killed is finished after the restart", async () => {
  await using world = await startMica();
  const { mica, volumes } = world;
  const content = randomBytes(16 * MiB);
  const image = await upload(mica, "raw", content);
  const counts = await sentMeanwhile(xfs, async () => assertAvailable(mica, await beginVolume(mica, image)));
  assert.deepEqual(counts, { CLONE: 1, COPY: 0, READ: 0, WRITE: 0 });
  const [file = ""] = (await readdir(volumes)).filter((name) => name.endsWith(".disk"));
  await using volume = await open(join(volumes, file));
  assert.deepEqual((await volume.read(Buffer.alloc(content.length), 0, content.length, 0)).buffer, content);

  const packed = await upload(mica, "qcow2", await compressed(content));
  const converting = await beginVolume(mica, packed);
  await mica.until(() => readdir(volumes), (names) => names.some((name) => name.endsWith(".partial")));
  await mica.kill();
  await mica.start();
  await assertAvailable(mica, converting);
  assert.equal(await mica.stop(), 0);
  const { code, output } = await mica.audit();
  assert.equal(code, 0, output);
});
