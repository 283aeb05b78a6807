/** Mica with pools on one NFS export: images and volumes share bytes. Runs inside the guest of `kernel-vm.sh`: `nfs.test.ts` starts it. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdtemp, open, readdir, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { it } from "node:test";
import { MiB, MINUTE_MS } from "#/lib/units.ts";
import { killFlows } from "../../support/kill-flows.ts";
import { MicaProcess } from "../../support/mica-process.ts";
import { assertAvailable, assertClean, beginVolume, qcow2Of, upload, withPools } from "../support/mica-in-guest.ts";
import { NfsServer, sentMeanwhile } from "../support/nfs-server.ts";

const server = await NfsServer.start(["xfs"]);
const xfs = await server.mount("xfs");

/** Two pools in folders of one export. */
async function freshPools() {
  const folder = await mkdtemp(join(xfs, "pools-"));
  const pools = [
    { name: "images", driver: "nfs", path: join(folder, "images"), roles: ["images"] },
    { name: "volumes", driver: "nfs", path: join(folder, "volumes"), roles: ["volumes", "cache"] },
  ];
  return { volumes: join(folder, "volumes"), ...withPools(pools), async [Symbol.asyncDispose]() {} };
}

/** An image whose bytes the image store has on the export: they stay where they are. */
async function register(mica: MicaProcess, url: string): Promise<string> {
  const { id } = await mica.json("POST", "/image/v2/images", { body: { name: "of the store", disk_format: "raw", container_format: "bare" } });
  assert.equal((await mica.ask("POST", `/image/v2/images/${id}/locations`, { body: { url } })).status, 202);
  const look = () => mica.json("GET", `/image/v2/images/${id}`);
  // Its hashes are made by reading it: that is not to be counted with what comes after.
  await mica.until(look, ({ status, os_hash_value }) => status === "active" && os_hash_value !== null, 2 * MINUTE_MS);
  return id;
}

/** Makes a volume of the image, whose content is known, and finds that the server did it all. */
async function assertCloned(mica: MicaProcess, { volumes, image, content }: { volumes: string; image: string; content: Buffer }): Promise<void> {
  const before = await readdir(volumes);
  const counts = await sentMeanwhile(xfs, async () => assertAvailable(mica, await beginVolume(mica, image)));
  assert.deepEqual(counts, { CLONE: 1, COPY: 0, READ: 0, WRITE: 0 });
  const [file = ""] = (await readdir(volumes)).filter((name) => name.endsWith(".disk") && !before.includes(name));
  await using volume = await open(join(volumes, file));
  assert.deepEqual((await volume.read(Buffer.alloc(content.length), 0, content.length, 0)).buffer, content);
}

it("volumes of images are CLONEs on the server; one that is being converted when Mica is killed is finished after the restart", async () => {
  const { volumes, ...place } = await freshPools();
  await using mica = await MicaProcess.start(place);
  const [content, ofStore] = [randomBytes(16 * MiB), randomBytes(4 * MiB)];
  await assertCloned(mica, { volumes, image: await upload(mica, "raw", content), content });

  const store = await mkdtemp(join(xfs, "glance-"));
  await writeFile(join(store, "cirros"), ofStore);
  const registered = await register(mica, `nfs://127.0.0.1/xfs/${basename(store)}/cirros`);
  await assertCloned(mica, { volumes, image: registered, content: ofStore });
  await mica.json("DELETE", `/image/v2/images/${registered}`);
  assert.deepEqual(await readdir(store), ["cirros"], "what is the store's stays");

  const packed = await upload(mica, "qcow2", await qcow2Of(content));
  const converting = await beginVolume(mica, packed);
  await mica.until(() => readdir(volumes), (names) => names.some((name) => name.endsWith(".partial")));
  await mica.kill();
  await mica.start();
  await assertAvailable(mica, converting);
  assert.equal(await mica.stop(), 0);
  await assertClean(mica);
});

killFlows("two folders of an export", { start: freshPools, momentsMs: [450], dataBytes: 16 * MiB });
