/** Reflected polynomials: IEEE 802.3 (GPT, UEFI 2.10 §5.3.2) and Castagnoli (VHDX, MS-VHDX §2.2.2.2). */
const IEEE = table(0xedb88320);
const CASTAGNOLI = table(0x82f63b78);

export const crc32 = (bytes: Uint8Array): number => checksum(IEEE, bytes);
export const crc32c = (bytes: Uint8Array): number => checksum(CASTAGNOLI, bytes);

function checksum(entries: Uint32Array, bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = (entries[(crc ^ byte) & 0xff] as number) ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

function table(polynomial: number): Uint32Array {
  return Uint32Array.from({ length: 256 }, (_, index) => {
    let entry = index;
    for (let bit = 0; bit < 8; bit++) entry = entry & 1 ? (entry >>> 1) ^ polynomial : entry >>> 1;
    return entry;
  });
}
