/** The first start makes everything: tables, people, a password. Killed in the middle of it, the next one does. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { describe, it } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { ADMIN_PASSWORD, MicaProcess } from "./support/mica-process.ts";

/** Of a start on an idle machine, in ms: before, while and after the tables are made, and while the password is hashed. */
const MOMENTS_MS = [150, 220, 260, 300, 350, 450, 600, 750, 900];

/** `bin/mica` is a shell script that becomes Mica. */
async function killFirstStart(dataDir: string, afterMs: number): Promise<void> {
  const env = { ...process.env, MICA_ADMIN_PASSWORD: ADMIN_PASSWORD };
  const child = spawn(resolve("bin/mica"), ["serve", "--data-dir", dataDir, "--listen", "127.0.0.1:0"], { env, stdio: "ignore" });
  const ended = once(child, "exit");
  await delay(afterMs);
  child.kill("SIGKILL");
  assert.deepEqual(await ended, [null, "SIGKILL"]);
}

describe("a first start that is killed", () => {
  it(`at any of ${MOMENTS_MS.length} moments, one after the other on one folder, leaves one that starts, lets the admin in and has nothing left over`, async () => {
    const dataDir = await mkdtemp(join(tmpdir(), "mica-first-start-"));
    try {
      for (const afterMs of MOMENTS_MS) await killFirstStart(dataDir, afterMs);
      await using mica = await MicaProcess.start({ dataDir });
      const { volumes } = await mica.json("GET", "/volume/v3/volumes");
      assert.deepEqual(volumes, []);
      const { code, output } = await mica.audit();
      assert.equal(code, 0, output);
    } finally {
      await rm(dataDir, { recursive: true, force: true });
    }
  });

  for (const afterMs of [250, 350, 500]) {
    it(`${afterMs} ms after its begin leaves a folder that starts and lets the admin in`, async () => {
      const dataDir = await mkdtemp(join(tmpdir(), "mica-first-start-"));
      try {
        await killFirstStart(dataDir, afterMs);
        await using mica = await MicaProcess.start({ dataDir });
        assert.ok(await mica.token());
      } finally {
        await rm(dataDir, { recursive: true, force: true });
      }
    });
  }
});
