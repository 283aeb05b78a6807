import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { derivedName } from "#/domain/derived-name.ts";

describe("derivedName()", () => {
  it("is the name with what stands before and after it", () => {
    assert.equal(derivedName("one", { after: "-shelved" }), "one-shelved");
    assert.equal(derivedName("one", { before: "snapshot for " }), "snapshot for one");
  });

  it("has 255 characters at most, none of them half", () => {
    const long = derivedName("\u{1f4be}".repeat(255), { after: "-shelved" });
    assert.deepEqual([Array.from(long).length, long.endsWith("\u{1f4be}-shelved"), long.isWellFormed()], [255, true, true]);
  });
});
