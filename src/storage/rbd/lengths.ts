/** Key of an image's metadata: how many bytes of it are content. Only images without object maps are asked for it. */
export const LENGTH = "mica.length";
const SECTOR_BYTES = 512;

/** QEMU 7.2 aborts at the end of an image that is no whole number of sectors (block/rbd.c, qemu_rbd_co_block_status). */
export function padded(sizeBytes: number): number {
  return Math.ceil(sizeBytes / SECTOR_BYTES) * SECTOR_BYTES;
}

export function isWhole(sizeBytes: number): boolean {
  return sizeBytes % SECTOR_BYTES === 0;
}

/** With maps, `rbd du` of 16.2 aborts on an empty image (librbd/api/DiffIterate.cc); and without them an image is asked for its length. */
export function mayHaveMaps(sizeBytes: number): boolean {
  return sizeBytes > 0 && isWhole(sizeBytes);
}
