import type { BlockNode } from "#/domain/block-node.ts";
import { CLUSTER_BYTES, ClusterMap, layOut, metadata } from "#/format/qcow2-layout.ts";
import type { ByteRange } from "#/storage/driver.ts";
import * as qemuImg from "#/tools/qemu-img.ts";
import { openReader } from "#/tools/qemu-nbd.ts";
import type { Content } from "#/transfer/copy.ts";
import { readAhead } from "#/transfer/read-ahead.ts";

/** What the node shows as a qcow2 file, in order and without a temporary one: its map is read first, then its data. */
export async function qcow2Content(node: BlockNode, virtualSizeBytes: number, signal?: AbortSignal): Promise<Content> {
  const map = new ClusterMap(virtualSizeBytes);
  await qemuImg.map(node, (extent) => extent.data && !extent.zero && map.add(extent), { signal });
  const layout = layOut(map, virtualSizeBytes);
  return { blocks: blocksOf(), sizeBytes: layout.clusters * CLUSTER_BYTES };

  async function* blocksOf(): AsyncIterable<Uint8Array> {
    yield* metadata(layout);
    await using disk = await openReader(node, { signal });
    yield* readAhead(dataPieces(map), (buffer, { start }) => readPadded(disk, buffer, start, virtualSizeBytes), signal);
  }
}

/** Runs of data, in pieces of a few clusters. */
function* dataPieces(map: ClusterMap): Iterable<ByteRange> {
  for (let start = map.next(0); start < map.clusters; ) {
    let end = start + 1;
    while (end - start < CLUSTERS_PER_PIECE && map.has(end)) end++;
    yield { start: start * CLUSTER_BYTES, end: end * CLUSTER_BYTES };
    start = map.next(end);
  }
}

/** As much as `readAhead` has buffers for. */
const CLUSTERS_PER_PIECE = 4;

/** The last cluster may reach beyond the disk's end. */
async function readPadded(disk: Awaited<ReturnType<typeof openReader>>, buffer: Uint8Array, start: number, virtualSizeBytes: number) {
  const lengthBytes = Math.min(buffer.length, virtualSizeBytes - start);
  const { zero } = await disk.read(buffer.subarray(0, lengthBytes), start);
  if (!zero) buffer.fill(0, lengthBytes);
  return { zero };
}
