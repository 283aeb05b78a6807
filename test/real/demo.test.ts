/** `make demo`: the main job on real disks with the real tools. The demonstration compares the contents by itself, and fails where they differ. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { resolve } from "node:path";
import { it } from "node:test";
import { promisify } from "node:util";
import { MicaProcess } from "../support/mica-process.ts";

it("mica demo takes an image in, makes volumes of it, and images again, all with the same content, and leaves nothing", async () => {
  await using server = await MicaProcess.start();
  const run = promisify(execFile);
  const { stdout } = await run(resolve("bin/mica"), ["demo", "--data-dir", server.dataDir], { timeout: 600_000 });
  const ways = [...stdout.matchAll(/^(\S+ → .+?) {2,}(\w+) {2,}/gm)].map(([, , way]) => way);
  // The raw image of a volume is a clone where the file system shares blocks, and a conversion elsewhere.
  assert.deepEqual(ways.toSpliced(3, 1), ["stream_convert", "clone_cached", "clone", "stream_convert", "stream_convert"]);
  assert.equal([...stdout.matchAll(/✔/g)].length, 10);
  const left = await Promise.all([server.json("GET", "/image/v2/images"), server.json("GET", "/volume/v3/volumes")]);
  assert.deepEqual(
    left.map(({ images, volumes }) => images ?? volumes),
    [[], []],
  );
  const { code, output } = await server.audit();
  assert.equal(code, 0, output);
});
