import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdir, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { it } from "node:test";
import { makeTemporaryFolder, removeDesertedFolders } from "#/lib/temporary-folder.ts";

/** Above the largest number that Linux gives to a process. */
const NOBODY = 2 ** 22 + 1;

it("folders of processes that were killed are removed, ours and others' are not", async () => {
  const [mine, deserted, foreign] = [await makeTemporaryFolder("test"), join(tmpdir(), `mica-test-${NOBODY}-x`), join(tmpdir(), `other-test-${NOBODY}-x`)];
  for (const folder of [deserted, foreign]) await mkdir(folder, { recursive: true });
  await writeFile(join(deserted, "socket"), "");
  try {
    assert.equal((await stat(mine)).mode & 0o777, 0o700);
    await removeDesertedFolders();
    assert.deepEqual([mine, deserted, foreign].map((folder) => existsSync(folder)), [true, false, true]);
  } finally {
    for (const folder of [mine, foreign]) await rm(folder, { recursive: true });
  }
});
