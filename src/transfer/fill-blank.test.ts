import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { mkdir, mkdtemp, readdir, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { FILE_SYSTEM_KINDS } from "#/domain/file-system.ts";
import { diskId } from "#/domain/ids.ts";
import { GiB, MiB } from "#/lib/units.ts";
import { FileDriver } from "#/storage/file/driver.ts";
import { run } from "#/tools/run.ts";
import { fillWithFileSystem } from "#/transfer/fill-blank.ts";

describe("fillWithFileSystem()", async () => {
  const dir = await mkdtemp(join(tmpdir(), "mica-mkfs-"));
  after(() => rm(dir, { recursive: true }));
  const pool = join(dir, "pool");
  await mkdir(pool);
  const driver = await FileDriver.open(pool);
  const staging = { path: join(dir, "staging", "disk"), sizeBytesMax: GiB };

  for (const kind of FILE_SYSTEM_KINDS) {
    it(`makes ${kind} with its label, takes next to no space, and leaves nothing in staging`, async () => {
      const disk = { id: diskId(randomUUID()), format: "raw", virtualSizeBytes: 4 * GiB } as const;
      await fillWithFileSystem(driver, disk, { fileSystem: { kind, label: "data0" }, staging });
      const path = new URL(driver.locate(disk)).pathname;
      const { stdout } = await run("blkid", ["-p", "-o", "export", path], { timeoutMs: 10_000 });
      assert.match(stdout, new RegExp(`^TYPE=${kind}$`, "m"));
      assert.match(stdout, /^LABEL=data0$/m);
      const { size, blocks } = await stat(path);
      assert.equal(size, 4 * GiB);
      assert.ok(blocks * 512 < 16 * MiB, `${blocks * 512} bytes`);
      assert.deepEqual(await readdir(join(dir, "staging")), []);
    });
  }

  it("leaves no disk when it is cancelled", async () => {
    const disk = { id: diskId(randomUUID()), format: "raw", virtualSizeBytes: GiB } as const;
    const signal = AbortSignal.abort();
    await assert.rejects(fillWithFileSystem(driver, disk, { fileSystem: { kind: "ext4" }, staging, signal }), { code: "cancelled" });
    assert.equal(await driver.stat(disk.id), undefined);
  });
});
