import { setImmediate } from "node:timers/promises";
import { throwIfCancelled } from "#/domain/cancel.ts";
import { KiB, MiB } from "#/lib/units.ts";
import type { SharedSpace, WorkOptions } from "#/storage/driver.ts";
import { openIfThere } from "#/storage/file/open-files.ts";
import { extentsOf } from "#/tools/extents.ts";

/** The memory for the map of what is shared, at most. Where a bit for each 4 KiB would take more, a bit stands for more. */
const MAP_BYTES_MAX = 64 * MiB;

/** Adds up the maps of the files. What files share counts once in `physicalBytes`; files that go meanwhile do not count. */
export async function measureFiles(paths: readonly string[], totalBytes: number, { signal, onProgress }: WorkOptions = {}): Promise<SharedSpace> {
  const shared = new SharedMap(totalBytes);
  let [allocatedBytes, sharedBytes] = [0, 0];
  for (const [index, path] of paths.entries()) {
    await using file = await openIfThere(path);
    if (!file) continue;
    for await (const { lengthBytes, physicalBytes, isShared } of extentsOf(file.fd)) {
      throwIfCancelled(signal);
      allocatedBytes += lengthBytes;
      if (!isShared || physicalBytes === undefined) continue;
      sharedBytes += lengthBytes;
      for (let at = 0; at < lengthBytes; at += SLICE_BYTES) {
        shared.add(physicalBytes + at, Math.min(SLICE_BYTES, lengthBytes - at));
        await setImmediate(); // A long extent is many blocks: others get their turn in between.
      }
    }
    onProgress?.((index + 1) / paths.length);
  }
  return { allocatedBytes, sharedBytes, physicalBytes: allocatedBytes - sharedBytes + shared.bytes };
}

const SLICE_BYTES = 64 * MiB;
const PAGE_BITS = 32_768;

/** Which places of the file system are taken, a bit for each block; pages of bits are made as they are needed. */
class SharedMap {
  readonly #blockBytes: number;
  readonly #pages = new Map<number, Uint8Array>();
  #blocks = 0;

  constructor(totalBytes: number) {
    const leastBytes = Math.max(4 * KiB, totalBytes / (8 * MAP_BYTES_MAX));
    this.#blockBytes = 2 ** Math.ceil(Math.log2(leastBytes));
  }

  get bytes(): number {
    return this.#blocks * this.#blockBytes;
  }

  add(startBytes: number, lengthBytes: number): void {
    const end = Math.ceil((startBytes + lengthBytes) / this.#blockBytes);
    for (let block = Math.floor(startBytes / this.#blockBytes); block < end; block++) this.#set(block);
  }

  #set(block: number): void {
    const [index, bit] = [Math.floor(block / PAGE_BITS), block % PAGE_BITS];
    let page = this.#pages.get(index);
    if (!page) this.#pages.set(index, (page = new Uint8Array(PAGE_BITS / 8)));
    const mask = 1 << (bit & 7);
    if (((page[bit >> 3] ?? 0) & mask) !== 0) return;
    page[bit >> 3] = (page[bit >> 3] ?? 0) | mask;
    this.#blocks += 1;
  }
}
