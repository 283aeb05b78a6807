/** Mica with pools on one NFS export: images and volumes share bytes. Runs inside the guest of `kernel-vm.sh`: `nfs.test.ts` starts it. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdtemp, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import { MiB } from "#/lib/units.ts";
import { killFlows } from "../../support/kill-flows.ts";
import { MicaProcess } from "../../support/mica-process.ts";
import { NfsServer, sentMeanwhile } from "../support/nfs-server.ts";

const server = await NfsServer.start(["xfs"]);
const xfs = await server.mount("xfs");

/** Two pools in folders of one export. */
async function place() {
  const folder = await mkdtemp(join(xfs, "pools-"));
  const pools = [
    { name: "images", driver: "nfs", path: join(folder, "images"), roles: ["images"] },
    { name: "volumes", driver: "nfs", path: join(folder, "volumes"), roles: ["volumes", "cache"] },
  ];
  return { folder, env: { MICA_POOLS: JSON.stringify(pools) }, async [Symbol.asyncDispose]() {} };
}

describe("Mica with images and volumes on one export", () => {
  it("makes a volume of an image by one CLONE: no byte is read or written", async () => {
    const { folder, env } = await place();
    await using mica = await MicaProcess.start({ env });
    const content = randomBytes(16 * MiB);
    const { id } = await mica.json("POST", "/image/v2/images", { body: { name: "disk", disk_format: "raw", container_format: "bare" } });
    const uploaded = await mica.ask("PUT", `/image/v2/images/${id}/file`, { body: content, headers: { "content-type": "application/octet-stream" } });
    assert.equal(uploaded.status, 204);
    const counts = await sentMeanwhile(xfs, async () => {
      const { volume } = await mica.json("POST", "/volume/v3/volumes", { body: { volume: { size: 1, imageRef: id } } });
      const made = await mica.until(async () => (await mica.json("GET", `/volume/v3/volumes/${volume.id}`)).volume, ({ status }) => status !== "creating");
      assert.equal(made.status, "available");
    });
    assert.deepEqual(counts, { CLONE: 1, COPY: 0, READ: 0, WRITE: 0 });
    const [file] = (await readdir(join(folder, "volumes"))).filter((name) => name.endsWith(".disk"));
    assert.deepEqual((await readFile(join(folder, "volumes", file ?? ""))).subarray(0, content.length), content);
    const { code, output } = await mica.audit();
    assert.equal(code, 0, output);
  });
});

killFlows("two pools on one NFS export", { start: place, momentsMs: [400], dataBytes: 32 * MiB });
