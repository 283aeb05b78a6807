/** Mica with volumes in a thin pool and images in files. Runs inside the guest of `kernel-vm.sh`: `lvm.test.ts` starts it. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdtemp, open } from "node:fs/promises";
import { join } from "node:path";
import { it } from "node:test";
import { MiB, MINUTE_MS } from "#/lib/units.ts";
import { Lvm } from "#/tools/lvm.ts";
import { killFlows } from "../../support/kill-flows.ts";
import { MicaProcess } from "../../support/mica-process.ts";
import { assertAvailable, assertClean, beginVolume, qcow2Of, upload, withPools } from "../support/mica-in-guest.ts";
import { FOLDER, makeVolumeGroup, sh } from "../support/volume-group.ts";

const CONTENT = randomBytes(16 * MiB);
let groups = 0;

/** Volumes in a group of their own, images in files. The data folder is beside them: a staged volume takes all of its size there. */
async function freshPools() {
  const volumeGroup = `vg-mica-${++groups}`;
  await makeVolumeGroup(volumeGroup, "1G");
  const folder = await mkdtemp(join(FOLDER, "mica-"));
  const pools = [
    { name: "files", driver: "file", path: join(folder, "images"), roles: ["images"] },
    { name: "thin", driver: "lvm", lvm: { volumeGroup }, roles: ["volumes", "cache"] },
  ];
  return { volumeGroup, dataDir: join(folder, "data"), ...withPools(pools), async [Symbol.asyncDispose]() {} };
}

/** Our logical volumes, each with the one that it was made of. */
async function volumesIn(group: string): Promise<Map<string, string>> {
  const lines = await sh("lvs", "--noheadings", "--separator", ":", "-o", "lv_name,origin,lv_tags", "-S", "lv_tags=mica", group);
  return new Map(lines.split("\n").filter(Boolean).map((line) => line.trim().split(":") as [string, string]));
}

async function assertHolds(device: string): Promise<void> {
  await using file = await open(device);
  assert.deepEqual((await file.read(Buffer.alloc(CONTENT.length), 0, CONTENT.length, 0)).buffer, CONTENT);
}

it("converts an image into the thin pool once, clones it for each volume, and finishes after a kill what it had begun", async () => {
  const place = await freshPools();
  const volumes = () => volumesIn(place.volumeGroup);
  await using mica = await MicaProcess.start(place);
  const disk = await qcow2Of(CONTENT);
  const image = await upload(mica, "qcow2", disk);
  await assertAvailable(mica, await beginVolume(mica, image));
  const first = await volumes();
  assert.equal(first.size, 2, "the cache entry, and a clone of it");
  await assertAvailable(mica, await beginVolume(mica, image));
  const clones = [...(await volumes())].filter(([, origin]) => origin !== "");
  assert.equal(clones.length, 2);
  for (const [name, origin] of clones) {
    assert.ok(first.has(origin));
    await assertHolds(new Lvm(place.volumeGroup).device(name));
  }

  const other = await upload(mica, "qcow2", disk);
  const converting = await beginVolume(mica, other);
  await mica.until(volumes, (found) => found.size > 3, MINUTE_MS);
  await mica.kill();
  await mica.start();
  await assertAvailable(mica, converting);
  await assertClean(mica);
  assert.equal((await volumes()).size, 5);

  await mica.json("DELETE", `/volume/v3/volumes/${converting}`);
  await mica.json("DELETE", `/image/v2/images/${other}`);
  await mica.until(volumes, (found) => found.size === 3, 2 * MINUTE_MS);
  assert.equal(await mica.stop(), 0);
  await assertClean(mica);
});

killFlows("a thin pool", { start: freshPools, momentsMs: [450], dataBytes: 16 * MiB });
