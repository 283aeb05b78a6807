import assert from "node:assert/strict";
import { it } from "node:test";
import fc from "fast-check";
import { parseOverlayHeader } from "#/storage/file/overlay-header.ts";

const parent = "0f0e0d0c-0b0a-0908-0706-050403020100";

it("parseOverlayHeader() finds the parent and the size of an overlay of ours", () => {
  assert.deepEqual(parseOverlayHeader(header(`${parent}.disk`)), { parent, virtualSizeBytes: 5 * 2 ** 30 });
  assert.deepEqual(parseOverlayHeader(header(`${parent}.overlay`)), { parent, virtualSizeBytes: 5 * 2 ** 30 });
});

it("parseOverlayHeader() refuses every other backing file", () => {
  const names = ["/etc/passwd", `/${parent}.disk`, `../${parent}.disk`, `${parent}.partial`, `${parent}.disk\0`, `json:{}`, ""];
  for (const name of names) assert.equal(parseOverlayHeader(header(name)), undefined, name);
  assert.equal(parseOverlayHeader(header(`${parent.toUpperCase()}.disk`)), undefined);
});

it("parseOverlayHeader() takes any bytes without harm", () => {
  const broken = fc.tuple(fc.nat(160), fc.uint8Array({ minLength: 1, maxLength: 16 }), fc.nat(300));
  fc.assert(
    fc.property(broken, ([at, bytes, length]) => {
      const damaged = header(`${parent}.disk`);
      damaged.set(bytes.subarray(0, damaged.length - at), at);
      const found = parseOverlayHeader(damaged.subarray(0, length));
      assert.ok(found === undefined || found.parent.length === 36);
    }),
  );
});

/** The fixed part of a qcow2 header of 5 GiB, and a backing file's name behind it. */
function header(backing: string): Buffer {
  const bytes = Buffer.alloc(200);
  bytes.writeUInt32BE(0x514649fb, 0);
  bytes.writeUInt32BE(3, 4);
  bytes.writeBigUInt64BE(112n, 8);
  bytes.writeUInt32BE(backing.length, 16);
  bytes.writeBigUInt64BE(5n * 2n ** 30n, 24);
  bytes.write(backing, 112, "latin1");
  return bytes;
}
