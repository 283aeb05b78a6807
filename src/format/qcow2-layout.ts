import { KiB } from "#/lib/units.ts";

/** QEMU's default; all offsets below are in clusters of it unless they say bytes. */
export const CLUSTER_BYTES = 64 * KiB;
const ENTRIES_PER_TABLE = CLUSTER_BYTES / 8;
/** Refcounts of 16 bits. */
const REFCOUNTS_PER_BLOCK = CLUSTER_BYTES / 2;
/** The entry's cluster is used once: it may be written in place. */
const COPIED = 1n << 63n;

/** Which clusters of a disk have data. */
export class ClusterMap {
  readonly clusters: number;
  readonly #bits: Uint8Array;

  constructor(virtualSizeBytes: number) {
    this.clusters = Math.ceil(virtualSizeBytes / CLUSTER_BYTES);
    this.#bits = new Uint8Array(Math.ceil(this.clusters / 8));
  }

  /** Every cluster that the bytes touch. */
  add({ startBytes, lengthBytes }: { startBytes: number; lengthBytes: number }): void {
    const end = Math.min(this.clusters, Math.ceil((startBytes + lengthBytes) / CLUSTER_BYTES));
    for (let index = Math.floor(startBytes / CLUSTER_BYTES); index < end; index++) this.#bits[index >> 3] = (this.#bits[index >> 3] ?? 0) | (1 << (index & 7));
  }

  has(index: number): boolean {
    return ((this.#bits[index >> 3] ?? 0) & (1 << (index & 7))) !== 0;
  }

  /** The first cluster with data from `start` on; `clusters` where there is none. Eight empty ones are one step: most of a disk is. */
  next(start: number): number {
    let index = start;
    while (index < this.clusters && !this.has(index)) index += (index & 7) === 0 && this.#bits[index >> 3] === 0 ? 8 : 1;
    return Math.min(index, this.clusters);
  }

  /** How many clusters with data there are from `start` up to, not with, `end`. */
  count(start: number, end: number): number {
    let count = 0;
    for (let index = this.next(start); index < end; index = this.next(index + 1)) count++;
    return count;
  }
}

interface Layout {
  readonly map: ClusterMap;
  readonly virtualSizeBytes: number;
  readonly refcountTable: { readonly start: number; readonly count: number };
  readonly refcountBlocks: { readonly start: number; readonly count: number };
  readonly l1: { readonly start: number; readonly count: number; readonly entries: number };
  /** By L1 entry: its table's cluster; 0 where it has no data. */
  readonly l2Starts: readonly number[];
  readonly dataStart: number;
  readonly clusters: number;
}

/**
 * Where all parts of a qcow2 file lie whose data is known to be in these clusters (docs/interop/qcow2.txt, version 3): header, refcounts, tables,
 * then the data in the guest's order. So it can be written from its beginning to its end, which qemu-img cannot.
 */
export function layOut(map: ClusterMap, virtualSizeBytes: number): Layout {
  const l1Entries = Math.max(1, Math.ceil(map.clusters / ENTRIES_PER_TABLE));
  const l1Count = Math.ceil(l1Entries / ENTRIES_PER_TABLE);
  const dataOf = Array.from({ length: l1Entries }, (_, table) => map.count(table * ENTRIES_PER_TABLE, Math.min(map.clusters, (table + 1) * ENTRIES_PER_TABLE)));
  const l2Count = dataOf.filter((count) => count > 0).length;
  const counted = 1 + l1Count + l2Count + dataOf.reduce((sum, count) => sum + count, 0);
  let [blocks, tables] = [1, 1];
  for (let clusters = 0; clusters !== counted + blocks + tables; ) {
    clusters = counted + blocks + tables;
    blocks = Math.ceil(clusters / REFCOUNTS_PER_BLOCK);
    tables = Math.ceil(blocks / ENTRIES_PER_TABLE);
  }
  const l1Start = 1 + tables + blocks;
  let next = l1Start + l1Count;
  const l2Starts = dataOf.map((count) => (count > 0 ? next++ : 0));
  return {
    map,
    virtualSizeBytes,
    refcountTable: { start: 1, count: tables },
    refcountBlocks: { start: 1 + tables, count: blocks },
    l1: { start: l1Start, count: l1Count, entries: l1Entries },
    l2Starts,
    dataStart: next,
    clusters: counted + blocks + tables,
  };
}

/** All that comes before the data, cluster by cluster; the buffer is used again. */
export function* metadata(layout: Layout): Iterable<Uint8Array> {
  const cluster = Buffer.alloc(CLUSTER_BYTES);
  yield header(cluster, layout);
  const { refcountTable, refcountBlocks, l1, l2Starts, clusters } = layout;
  yield* table(cluster, refcountTable.count, (index) => (index < refcountBlocks.count ? offsetOf(refcountBlocks.start + index) : 0n));
  for (let block = 0; block < refcountBlocks.count; block++) {
    cluster.fill(0);
    const used = Math.min(REFCOUNTS_PER_BLOCK, clusters - block * REFCOUNTS_PER_BLOCK);
    for (let index = 0; index < used; index++) cluster.writeUInt16BE(1, 2 * index);
    yield cluster;
  }
  yield* table(cluster, l1.count, (index) => entryOf(l2Starts[index] ?? 0));
  let next = layout.dataStart;
  for (const [l1Index, start] of l2Starts.entries()) {
    if (start === 0) continue;
    yield* table(cluster, 1, (index) => (layout.map.has(l1Index * ENTRIES_PER_TABLE + index) ? entryOf(next++) : 0n));
  }
}

function header(cluster: Buffer, { virtualSizeBytes, refcountTable, l1 }: Layout): Buffer {
  cluster.fill(0);
  cluster.write("QFI\xfb", 0, "latin1");
  cluster.writeUInt32BE(3, 4);
  cluster.writeUInt32BE(Math.log2(CLUSTER_BYTES), 20);
  cluster.writeBigUInt64BE(BigInt(virtualSizeBytes), 24);
  cluster.writeUInt32BE(l1.entries, 36);
  cluster.writeBigUInt64BE(offsetOf(l1.start), 40);
  cluster.writeBigUInt64BE(offsetOf(refcountTable.start), 48);
  cluster.writeUInt32BE(refcountTable.count, 56);
  cluster.writeUInt32BE(4, 96); // refcount_order: 16 bits
  cluster.writeUInt32BE(104, 100); // header_length
  return cluster;
}

function* table(cluster: Buffer, count: number, entry: (index: number) => bigint): Iterable<Buffer> {
  for (let part = 0; part < count; part++) {
    for (let index = 0; index < ENTRIES_PER_TABLE; index++) cluster.writeBigUInt64BE(entry(part * ENTRIES_PER_TABLE + index), 8 * index);
    yield cluster;
  }
}

const offsetOf = (cluster: number): bigint => BigInt(cluster) * BigInt(CLUSTER_BYTES);
const entryOf = (cluster: number): bigint => (cluster === 0 ? 0n : offsetOf(cluster) | COPIED);
