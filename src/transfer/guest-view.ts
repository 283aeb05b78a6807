import type { BlockNode } from "#/domain/block-node.ts";
import { diskId } from "#/domain/ids.ts";
import type { Capabilities } from "#/storage/driver.ts";
import { readNode } from "#/storage/read-ahead.ts";
import type { Source, SourcePool } from "#/transfer/source.ts";

/** A disk as its guest's QEMU shows it. */
export interface ShownDisk {
  readonly id: string;
  readonly node: BlockNode;
  readonly virtualSizeBytes: number;
  /** What its content takes at most where it lies. */
  readonly allocatedBytes: number;
}

/** What a block node shows, as a source like any other: a pool of one raw disk that can only be read. */
export function viewOf({ id, node, virtualSizeBytes, allocatedBytes }: ShownDisk): Source {
  const disk = diskId(id);
  const pool: SourcePool = {
    can: READ_ONLY,
    open: async () => node,
    stat: async () => ({ id: disk, sizeBytes: virtualSizeBytes, allocatedBytes: Math.min(allocatedBytes, virtualSizeBytes) }),
    read: (_, range, options) => readNode(node, range, options?.signal),
  };
  return { pool, disk: { id: disk, format: "raw", virtualSizeBytes } };
}

const READ_ONLY: Capabilities = { clone: "none", snapshot: false, offloadCopy: false, addressable: "read", mutable: false, sparse: true, place: "guest", why: {} };
