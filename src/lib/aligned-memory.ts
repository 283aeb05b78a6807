import { KiB } from "#/lib/units.ts";

/** O_DIRECT wants buffers, offsets and lengths that are multiples of the disk's logical block: 4 KiB fits all. */
export const ALIGNMENT_BYTES = 4 * KiB;

/** The part of WebAssembly's JavaScript interface that is used here; TypeScript keeps it in its browser types. */
declare const WebAssembly: {
  Memory: new (pages: { initial: number; maximum: number; shared: true }) => { readonly buffer: SharedArrayBuffer };
};

const WASM_PAGE_BYTES = 64 * KiB;

/**
 * `count` page-aligned blocks of `sizeBytes` each. A WebAssembly memory is the one kind that JavaScript can be sure of:
 * it starts on a page. It is shared, so that worker threads read the same bytes without a copy.
 */
export function alignedBlocks(count: number, sizeBytes: number): Uint8Array<SharedArrayBuffer>[] {
  if (sizeBytes % ALIGNMENT_BYTES !== 0) throw new Error(`Broken invariant: ${sizeBytes} is not a multiple of 4 KiB`);
  const pages = Math.ceil((count * sizeBytes) / WASM_PAGE_BYTES);
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
  return Array.from({ length: count }, (_, i) => new Uint8Array(memory.buffer, i * sizeBytes, sizeBytes));
}
