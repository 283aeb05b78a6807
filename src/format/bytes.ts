/**
 * Fields of on-disk structures. Every format here has one byte order, so a parser takes its order once and then
 * reads by offset. 64-bit values come as numbers: above 2^53 they lose their last digits, but every such value is
 * beyond all limits here (2^46) and is refused by comparison, which stays right.
 */
export interface Fields {
  u8(offset: number): number;
  u16(offset: number): number;
  u32(offset: number): number;
  u64(offset: number): number;
}

export const bigEndian = (bytes: Uint8Array): Fields => fields(bytes, false);
export const littleEndian = (bytes: Uint8Array): Fields => fields(bytes, true);

function fields(bytes: Uint8Array, little: boolean): Fields {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return {
    u8: (offset) => view.getUint8(offset),
    u16: (offset) => view.getUint16(offset, little),
    u32: (offset) => view.getUint32(offset, little),
    u64: (offset) => Number(view.getBigUint64(offset, little)),
  };
}

/**
 * A table's 32-bit entries, for loops over many of them: twice as fast as by `Fields`. A rest of fewer than
 * four bytes is left out. The processors that Mica runs on (x64, arm64) are little-endian.
 */
export function words(bytes: Uint8Array, order: "big" | "little"): Uint32Array {
  const entries = new Uint32Array(bytes.length >>> 2);
  new Uint8Array(entries.buffer).set(bytes.subarray(0, entries.byteLength));
  if (order === "big") Buffer.from(entries.buffer).swap32();
  return entries;
}

/** One character per byte, never failing: for magics and for text that is checked afterwards. */
export function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1");
}

export const hex = (bytes: Uint8Array): string => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("hex");

/** Whether `bytes` hold the latin1 characters of `text` at `offset`; false where they end before. */
export function holds(bytes: Uint8Array, offset: number, text: string): boolean {
  return latin1(bytes.subarray(offset, offset + text.length)) === text;
}

/** `bytes` followed by zeroes up to `length`, so that the header of a file cut off can be read like any other. */
export function padded(bytes: Uint8Array, length: number): Uint8Array {
  if (bytes.length >= length) return bytes;
  const whole = new Uint8Array(length);
  whole.set(bytes);
  return whole;
}

export const isZero = (bytes: Uint8Array): boolean => bytes.every((byte) => byte === 0);

export const isPowerOfTwo = (value: number): boolean => value > 0 && Number.isInteger(Math.log2(value));

export const roundUp = (value: number, unit: number): number => Math.ceil(value / unit) * unit;
