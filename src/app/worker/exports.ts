import { randomUUID } from "node:crypto";
import type { BlockNode } from "#/domain/block-node.ts";
import { DISK_FORMATS, type DiskFormat } from "#/domain/disk.ts";
import { diskId } from "#/domain/ids.ts";
import type { NewDisk } from "#/storage/driver.ts";
import type { Pool } from "#/storage/pool.ts";
import type { Pools } from "#/storage/pools.ts";

/** What is shown under a name, and whether it may be written to. */
export interface Export {
  readonly node: BlockNode;
  readonly mode: "read" | "write";
  readonly cache?: "writeback";
}

/**
 * The disks of a worker by the names under which they are shown: `POOL/DISK/FORMAT/read` or `…/write`. A name says all: whoever
 * comes back after a restart of the worker finds the same disk, and nothing has to be kept. Only a disk that is being
 * filled has a name for once, which ends with its filling.
 */
export class Exports {
  readonly #pools: Pools;
  readonly #filling = new Map<string, BlockNode>();

  constructor(pools: Pools) {
    this.#pools = pools;
  }

  /** Undefined for a name that stands for nothing here; errors are those of the pool's `open()`. */
  async find(name: string): Promise<Export | undefined> {
    const filling = this.#filling.get(name);
    if (filling) return { node: filling, mode: "write", cache: "writeback" }; // Where the connection is lost, all of it is.
    const [, poolName = "", id = "", format = "", mode = ""] = NAME.exec(name) ?? [];
    const pool = this.#pools.find(poolName);
    return pool && open(pool, id, format as DiskFormat, mode as Export["mode"]);
  }

  /** Shows a disk that is being filled, until it is disposed. */
  showFilling(pool: Pool, { id }: NewDisk, node: BlockNode): Disposable & { readonly name: string; readonly disk: string } {
    const disk = `${pool.name}/${id}/fill`;
    const name = `${disk}/${randomUUID()}`;
    this.#filling.set(name, node);
    return { name, disk, [Symbol.dispose]: () => this.#filling.delete(name) };
  }
}

/** What a disk's names have in common, in each format that it may be asked for. */
export function namesOf(pool: Pool, id: string): string[] {
  return DISK_FORMATS.map((format) => `${pool.name}/${id}/${format}`);
}

const NAME = new RegExp(`^([a-z][a-z0-9-]{0,62})/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/(${DISK_FORMATS.join("|")})/(read|write)$`);

/** A raw disk as a guest sees it, through all that it stands on; of other formats the file itself: their reader is where they are converted, confined. */
async function open(pool: Pool, id: string, format: DiskFormat, mode: Export["mode"]): Promise<Export | undefined> {
  const stored = await pool.stat(diskId(id));
  if (!stored) return undefined;
  const node = await pool.open({ id: stored.id, format, virtualSizeBytes: stored.sizeBytes, parent: stored.parent }, mode);
  const isGuestView = format === "raw" || format === "iso" || !("file" in node);
  return { node: isGuestView ? node : { driver: "raw", file: node.file }, mode };
}
