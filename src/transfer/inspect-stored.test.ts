import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { AppError } from "#/domain/errors.ts";
import { refusal } from "#/format/inspect.ts";
import { KiB, MiB } from "#/lib/units.ts";
import { dense, newDisk, padded, put, rejectsWith } from "#/storage/contract/bench.ts";
import { MemoryDriver } from "#/storage/memory/driver.ts";
import { inspectStored } from "#/transfer/inspect-stored.ts";
import { converted, created, inspect, stored } from "../../test/support/disk-images.ts";
import { makeSamples, mutantOf } from "../../test/support/mutants.ts";

/** What the look at stored bytes says. */
async function look(bytes: Uint8Array, diskFormat: string) {
  await using pool = new MemoryDriver();
  const disk = newDisk(bytes.length, "opaque");
  await put(pool, disk, bytes);
  return await inspectStored(pool, disk, { diskFormat });
}

/** The virtual size, or undefined where it is refused: of two reasons, one is found first. */
async function sizeOf(bytes: Uint8Array, diskFormat: string): Promise<number | undefined> {
  return look(bytes, diskFormat).then(
    ({ virtualSizeBytes }) => virtualSizeBytes,
    (error: unknown) => (error instanceof AppError ? undefined : Promise.reject(error)),
  );
}

/** The same of all bytes as they pass. */
function streamedSizeOf(bytes: Uint8Array, diskFormat: string): number | undefined {
  const inspection = inspect(bytes);
  return refusal(inspection, diskFormat) ? undefined : inspection.virtualSizeBytes;
}

describe("inspectStored()", () => {
  const samples = makeSamples();
  const CLAIMS = ["raw", "qcow2", "vmdk", "vhd", "vhdx", "vdi", "iso"];

  it("finds in the parts that matter what an upload finds in all bytes", async () => {
    await fc.assert(
      fc.asyncProperty(mutantOf(samples), fc.constantFrom(...CLAIMS), async ({ bytes }, claim) => {
        assert.equal(await sizeOf(bytes, claim), streamedSizeOf(bytes, claim));
      }),
      { numRuns: 150 },
    );
  });

  it("reads little of a large image", async () => {
    const large = padded(converted("qcow2"), 24 * MiB);
    const { bytesRead, sizeBytes, virtualSizeBytes } = await look(large, "qcow2");
    assert.equal(sizeBytes, 24 * MiB);
    assert.equal(virtualSizeBytes, 3 * MiB);
    assert.ok(bytesRead <= 2 * MiB, `${bytesRead} bytes`);
    assert.equal((await look(padded(dense(MiB, 1), 24 * MiB), "raw")).bytesRead <= 600 * KiB, true);
  });

  it("refuses what leads elsewhere, what is something else, and what is not there", async () => {
    await rejectsWith("image_unsafe", () => look(created("qcow2", ["-b", stored(converted("qcow2")), "-F", "qcow2"]), "qcow2"));
    await rejectsWith("image_format_mismatch", () => look(converted("vdi"), "qcow2"));
    await rejectsWith("image_format_mismatch", () => look(new Uint8Array(), "qcow2"));
    await rejectsWith("disk_not_found", () => inspectStored(new MemoryDriver(), newDisk(MiB), { diskFormat: "raw" }));
  });
});
