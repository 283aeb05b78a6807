import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { chmod, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { gunzipSync } from "node:zlib";
import { asAppError } from "#/domain/errors.ts";
import { KiB, MiB } from "#/lib/units.ts";
import { filter, findQat } from "#/tools/qzip.ts";

const folder = await mkdtemp(join(tmpdir(), "mica-qzip-"));
after(() => rm(folder, { recursive: true }));

async function* chunksOf(bytes: Uint8Array): AsyncIterable<Uint8Array> {
  for (let start = 0; start < bytes.length; start += 64 * KiB) yield bytes.subarray(start, start + 64 * KiB);
}

async function all(blocks: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const block of blocks) parts.push(Buffer.from(block));
  return Buffer.concat(parts);
}

describe("findQat()", () => {
  it("wants both the program and a device that the kernel drives", async () => {
    const [programs, sysfs] = [[join(folder, "bin")], join(folder, "sys")];
    assert.equal(await findQat({ programs, sysfs }), undefined);
    await mkdir(join(folder, "bin"), { recursive: true });
    await writeFile(join(folder, "bin/qzip"), "");
    await chmod(join(folder, "bin/qzip"), 0o755);
    await mkdir(join(sysfs, "bus/pci/drivers/4xxx"), { recursive: true });
    await writeFile(join(sysfs, "bus/pci/drivers/4xxx/bind"), "");
    assert.equal(await findQat({ programs, sysfs }), undefined, "the driver has no device");
    await mkdir(join(sysfs, "bus/pci/drivers/4xxx/0000:6b:00.0"));
    assert.deepEqual(await findQat({ programs, sysfs }), { device: "0000:6b:00.0" });
  });
});

/** gzip is a filter as qzip is. */
describe("filter()", () => {
  it("streams content through a program, both ways at once", async () => {
    const bytes = randomBytes(4 * MiB + 3);
    assert.ok(gunzipSync(await all(filter(["gzip", "-1"], chunksOf(bytes)))).equals(bytes));
  });

  it("says what the program said when it fails", async () => {
    await assert.rejects(all(filter(["gzip", "-d"], chunksOf(randomBytes(MiB)))), (error) => asAppError(error)?.code === "tool_failed" && /not in gzip format/.test((error as Error).message));
    await assert.rejects(all(filter(["no-such-program"], chunksOf(randomBytes(MiB)))), (error) => asAppError(error)?.code === "tool_failed");
  });

  it("ends with its reader, with the signal, and with its source", async () => {
    for await (const block of filter(["gzip", "-1"], chunksOf(randomBytes(8 * MiB)))) {
      assert.ok(block.length > 0);
      break;
    }
    const stop = new AbortController();
    const cancelled = all(filter(["sleep", "60"], chunksOf(randomBytes(MiB)), stop.signal));
    setTimeout(() => stop.abort(), 50);
    await assert.rejects(cancelled, (error) => asAppError(error)?.code === "cancelled");
    async function* breaking() {
      yield randomBytes(KiB);
      throw new Error("the disk broke");
    }
    await assert.rejects(all(filter(["gzip"], breaking())), /the disk broke/);
  });
});
