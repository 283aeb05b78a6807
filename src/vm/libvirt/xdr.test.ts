import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { XdrReader, XdrWriter } from "#/vm/libvirt/xdr.ts";

describe("XDR", () => {
  it("writes words of four bytes, the larger end first, and pads (RFC 4506 §4)", () => {
    const bytes = new XdrWriter().int(-2).unsignedHyper(2n ** 40n).string("añb").optionalString(undefined).optionalString("").finish();
    assert.equal(bytes.toString("hex"), "fffffffe" + "0000010000000000" + "00000004" + "61c3b162" + "00000000" + "0000000100000000");
    assert.equal(new XdrWriter().string("abcde").finish().length, 4 + 8);
  });

  it("reads back what it writes", () => {
    const reader = new XdrReader(new XdrWriter().int(7).string("five!").bytes(Buffer.from([1, 2, 3])).unsignedHyper(123).optionalString("x").int(2).int(10).int(20).finish());
    assert.deepEqual([reader.int(), reader.string(), [...reader.opaque(reader.int())], reader.unsignedHyper(), reader.optionalString()], [7, "five!", [1, 2, 3], 123, "x"]);
    assert.deepEqual(reader.array(() => reader.int()), [10, 20]);
  });

  it("refuses lengths that the message does not have, before it makes room for them", () => {
    const huge = new XdrWriter().int(0x7fffffff).finish();
    assert.throws(() => new XdrReader(huge).string(), RangeError);
    const reader = new XdrReader(huge);
    assert.throws(() => reader.array(() => 0), RangeError);
    assert.throws(() => new XdrReader(new XdrWriter().int(-1).finish()).string(), RangeError);
    assert.throws(() => new XdrReader(Buffer.alloc(3)).int(), RangeError);
  });
});
