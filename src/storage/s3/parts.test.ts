import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { AppError } from "#/domain/errors.ts";
import { GiB, MiB, TiB } from "#/lib/units.ts";
import { PartLayout } from "#/storage/s3/parts.ts";

describe("PartLayout", () => {
  it("cuts without gaps, in parts that S3 takes, as many as it takes", () => {
    for (const knownBytes of [0, 1, 10 * MiB, 100 * GiB, TiB, 5 * TiB]) {
      const layout = new PartLayout(10 * MiB, knownBytes);
      let end = 0;
      for (let number = 1; end < Math.max(knownBytes * 1.2, 50 * GiB); number++) {
        const part = layout.at(end);
        assert.deepEqual([part.number, part.start], [number, end]);
        assert.ok(part.end - part.start >= 5 * MiB && part.end - part.start <= 5 * GiB && number <= 10_000);
        assert.deepEqual(layout.at(part.end - 1), part);
        end = part.end;
      }
    }
  });

  it("keeps parts small where the size is known, and where little has come of a stream", () => {
    const sizeOf = (layout: PartLayout, offset: number) => layout.at(offset).end - layout.at(offset).start;
    assert.equal(sizeOf(new PartLayout(10 * MiB, 50 * GiB), 49 * GiB), 10 * MiB);
    assert.equal(sizeOf(new PartLayout(10 * MiB, TiB), TiB - 1), 132 * MiB);
    assert.equal(sizeOf(new PartLayout(10 * MiB, 0), GiB), 10 * MiB);
    assert.equal(sizeOf(new PartLayout(10 * MiB, 0), 20 * GiB), 20 * MiB);
  });

  it("says too_large where the parts do not reach", () => {
    const layout = new PartLayout(5 * MiB, 0);
    assert.throws(() => layout.at(100 * TiB), (error) => error instanceof AppError && error.code === "too_large");
  });
});
