import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { describe, it } from "node:test";
import { KiB, MiB } from "#/lib/units.ts";
import { cancelInTheMiddle, content, newDisk, ODD_SIZES_BYTES, padded, put, rejectsWith } from "#/storage/contract/bench.ts";
import { MemoryDriver } from "#/storage/memory/driver.ts";
import { hashDisk } from "#/transfer/hash.ts";

describe("hashDisk()", () => {
  it("hashes the stored content of any size, in whatever format, as node:crypto does", async () => {
    const driver = new MemoryDriver();
    for (const sizeBytes of [...ODD_SIZES_BYTES, 256 * KiB, 256 * KiB + 1, MiB, 4 * MiB, 4 * MiB + 1, 25 * MiB + 5]) {
      const disk = newDisk(sizeBytes + 4 * KiB, "qcow2");
      const bytes = padded(content(Math.min(sizeBytes, 5 * MiB), sizeBytes), sizeBytes);
      await put(driver, disk, bytes);
      const fractions: number[] = [];
      const hashed = await hashDisk(driver, disk, { onProgress: (fraction) => fractions.push(fraction) });
      assert.deepEqual(hashed, { sizeBytes, md5: hash("md5", bytes), sha512: hash("sha512", bytes) });
      assert.deepEqual(fractions, fractions.toSorted((a, b) => a - b));
      assert.equal(fractions.at(-1), sizeBytes === 0 ? undefined : 1);
    }
  });

  it("says that a disk is not there", async () => {
    await rejectsWith("disk_not_found", () => hashDisk(new MemoryDriver(), newDisk(MiB)));
  });

  it("ends when it is cancelled", async () => {
    const driver = new MemoryDriver();
    const disk = newDisk(8 * MiB);
    await put(driver, disk, content(8 * MiB, 1));
    await rejectsWith("cancelled", () => hashDisk(driver, disk, cancelInTheMiddle()));
  });
});

function hash(algorithm: string, bytes: Uint8Array): string {
  return createHash(algorithm).update(bytes).digest("hex");
}
