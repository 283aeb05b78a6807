import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { inspect, qemuImg, stored } from "../../test/support/disk-images.ts";
import { makeSamples, mutantOf, type Sample } from "../../test/support/mutants.ts";

/**
 * The inspectors against QEMU itself: whatever they let through must be, for the tool that reads it next, a disk of
 * the same size that consists of this file alone. Seeds are fixed, so that a run can be repeated.
 */
const MUTANTS_PER_SAMPLE = 25;
const SEED = 20_261_121;

interface Info {
  readonly "virtual-size": number;
  readonly "backing-filename"?: string;
  readonly "full-backing-filename"?: string;
  readonly "format-specific"?: {
    readonly data: { readonly "data-file"?: string; readonly extents?: readonly { readonly filename: string }[] };
  };
}

/** What `qemu-img info` says; undefined where QEMU does not open the file. */
function infoOf(path: string, driver: string): Info | undefined {
  try {
    return JSON.parse(qemuImg("info", "--output=json", "-f", driver, path)) as Info;
  } catch {
    return undefined;
  }
}

function acceptedMutants(sample: Sample): readonly Uint8Array[] {
  return fc
    .sample(mutantOf([sample], 2), { numRuns: MUTANTS_PER_SAMPLE, seed: SEED })
    .map(({ bytes }) => bytes)
    .filter((bytes) => {
      const { problems, format } = inspect(bytes);
      return problems.length === 0 && format !== "raw" && format !== "iso";
    });
}

function assertAlone(info: Info, path: string): void {
  const data = info["format-specific"]?.data;
  assert.equal(info["backing-filename"], undefined);
  assert.equal(info["full-backing-filename"], undefined);
  assert.equal(data?.["data-file"], undefined);
  for (const { filename } of data?.extents ?? []) assert.equal(filename, path);
}

describe("what the inspectors let through is for qemu-img a disk of the same size, in this file alone:", () => {
  for (const sample of makeSamples().filter(({ driver }) => driver !== "raw" && driver !== "luks")) {
    it(`mutants of ${sample.name}`, () => {
      const mutants = acceptedMutants(sample);
      let opened = 0;
      for (const bytes of mutants) {
        const path = stored(bytes);
        const info = infoOf(path, sample.driver);
        if (!info) continue;
        opened++;
        assertAlone(info, path);
        assert.equal(inspect(bytes).virtualSizeBytes, info["virtual-size"]);
      }
      assert.ok(opened >= 5, `only ${opened} of ${mutants.length} mutants that were let through could be opened`);
    });
  }
});
