import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { SECOND_MS } from "#/lib/units.ts";
import { inspect } from "../../test/support/disk-images.ts";
import { makeSamples, mutantOf } from "../../test/support/mutants.ts";
import { earlyRefusal, type Inspection, refusal, RETAINED_MAX_BYTES, StreamInspector } from "./inspect.ts";

const samples = makeSamples();
const mutants = mutantOf(samples);
const CLAIMS = ["raw", "qcow2", "vmdk", "vhd", "vhdx", "vdi", "iso", "luks"];
/** CPU time that one inspection of 20 MiB may take; it takes about 10 ms. */
const CPU_MAX_MS = 2 * SECOND_MS;

/** Cuts `bytes` at the given fractions. */
function* chunksOf(bytes: Uint8Array, cuts: readonly number[]): Generator<Uint8Array> {
  const places = [...cuts.map((cut) => Math.floor(cut * bytes.length)), bytes.length].sort((a, b) => a - b);
  let from = 0;
  for (const until of places) {
    yield bytes.subarray(from, until);
    from = until;
  }
}

/** Cuts that fall where headers are, as well as anywhere. */
const cuts = fc.array(fc.oneof(fc.double({ min: 0, max: 1, noNaN: true }), fc.double({ min: 0, max: 0.02, noNaN: true })), {
  maxLength: 12,
});

function inspectBounded(chunks: Iterable<Uint8Array>): Inspection {
  const inspector = new StreamInspector();
  const begun = process.cpuUsage();
  for (const chunk of chunks) {
    inspector.update(chunk);
    assert.ok(inspector.retainedBytes <= RETAINED_MAX_BYTES, `${inspector.retainedBytes} bytes are kept`);
  }
  const inspection = inspector.finish();
  const { user, system } = process.cpuUsage(begun);
  assert.ok((user + system) / 1000 < CPU_MAX_MS, `${(user + system) / 1000} ms of CPU time`);
  return inspection;
}

describe("StreamInspector, for mutants of real images,", () => {
  it("gives the same answer for every chunking", () => {
    fc.assert(
      fc.property(mutants, cuts, ({ bytes }, places) => {
        assert.deepEqual(inspectBounded(chunksOf(bytes, places)), inspectBounded([bytes]));
      }),
      { numRuns: 250 },
    );
  });

  it("gives the same answer byte by byte", () => {
    const head = 70_000;
    fc.assert(
      fc.property(mutants, ({ bytes }) => {
        const single = Array.from(bytes.subarray(0, head), (_, at) => bytes.subarray(at, at + 1));
        assert.deepEqual(inspect(...single, bytes.subarray(head)), inspect(bytes));
      }),
      { numRuns: 25 },
    );
  });

  it("never takes back what it refused early", () => {
    fc.assert(
      fc.property(mutants, cuts, fc.constantFrom(...CLAIMS), ({ bytes }, places, claim) => {
        const inspector = new StreamInspector();
        const early = [...chunksOf(bytes, places)].map((chunk) => {
          inspector.update(chunk);
          return {
            refused: earlyRefusal(inspector, claim) !== undefined,
            problem: inspector.refusedEarly,
            possible: inspector.possibleFormats,
          };
        });
        const inspection = inspector.finish();
        const refused = refusal(inspection, claim) !== undefined;
        for (const state of early) {
          assert.ok(refused || !state.refused, `${claim} was refused early, and taken in the end`);
          if (state.problem)
            assert.ok(inspection.problems.some(({ rule, format }) => rule === state.problem?.rule && format === state.problem?.format));
          assert.ok(
            state.possible.includes(inspection.format) || inspection.problems.some(({ rule }) => rule === "polyglot"),
            `${inspection.format} was held impossible`,
          );
        }
      }),
      { numRuns: 250 },
    );
  });

  it("says a whole number of bytes, a rule and a sentence", () => {
    fc.assert(
      fc.property(mutants, ({ bytes }) => {
        const { sizeBytes, virtualSizeBytes, problems } = inspect(bytes);
        assert.equal(sizeBytes, bytes.length);
        assert.ok(Number.isInteger(virtualSizeBytes) && virtualSizeBytes >= 0, `${virtualSizeBytes}`);
        if (problems.length === 0) assert.ok(Number.isSafeInteger(virtualSizeBytes));
        for (const { rule, message } of problems) {
          assert.match(rule, /^[a-z_]+$/);
          assert.match(message, /^[A-Z][\x20-\x7e]{10,500}\.$/);
        }
      }),
      { numRuns: 300 },
    );
  });
});

describe("StreamInspector, for bytes of no sense,", () => {
  const magics = samples.map(({ bytes }) => bytes.subarray(0, 72));
  const noise = fc
    .tuple(
      fc.option(fc.constantFrom(...magics), { nil: new Uint8Array() }),
      fc.uint8Array({ minLength: 1, maxLength: 200 }),
      fc.nat({ max: 1000 }),
    )
    .map(([magic, part, times]) => ({
      bytes: new Uint8Array(Buffer.concat([magic, ...Array.from({ length: times }, () => part)])),
      [fc.toStringMethod]: () => `${Buffer.from(magic).toString("hex")}, then ${times} × ${Buffer.from(part).toString("hex")}`,
    }));

  it("gives the same answer for every chunking", () => {
    fc.assert(
      fc.property(noise, cuts, ({ bytes }, places) => {
        assert.deepEqual(inspectBounded(chunksOf(bytes, places)), inspectBounded([bytes]));
      }),
      { numRuns: 200 },
    );
  });
});
