import type { BlockNode } from "#/domain/block-node.ts";
import type { DiskFormat } from "#/domain/disk.ts";
import { GiB, MiB } from "#/lib/units.ts";
import type { NewDisk, WorkOptions } from "#/storage/driver.ts";
import * as qemuImg from "#/tools/qemu-img.ts";
import { dataBytes, isPlain, isReadable, isSameContent, openSource, type Source, withFacts } from "#/transfer/source.ts";

/** Bytes that a conversion will take at most in the target's pool, known before the first one is written. Errors: of the pool, and of qemu-img. */
export async function measure(given: { readonly source: Source; readonly targetFormat: DiskFormat }): Promise<number> {
  const { source, targetFormat } = await withFacts(given);
  const { disk } = source;
  if (isSameContent(disk.format, targetFormat)) return dataBytes(source);
  if (isReadable(source)) return measureNode(await openSource(source), { format: targetFormat, virtualSizeBytes: disk.virtualSizeBytes });
  const guestBytes = isPlain(disk.format) ? await dataBytes(source) : disk.virtualSizeBytes;
  return guestBytes + metadataBytes(targetFormat, disk.virtualSizeBytes);
}

/** Bytes that what the node shows takes at most in a file of the format. */
export async function measureNode(
  node: BlockNode,
  { format, virtualSizeBytes }: Pick<NewDisk, "format" | "virtualSizeBytes">,
  options: Pick<WorkOptions, "signal"> = {},
): Promise<number> {
  if (format === "qcow2") return qemuImg.measure(node, "qcow2", options);
  // Of raw, qemu-img measures the length with its holes: as a qcow2 file it counts the data.
  if (isPlain(format)) return Math.min(virtualSizeBytes, await qemuImg.measure(node, "qcow2", options));
  const blocks = await countBlocks(node, blockBytes(format, virtualSizeBytes), options);
  return Math.min(virtualSizeBytes, blocks * blockBytes(format, virtualSizeBytes)) + metadataBytes(format, virtualSizeBytes);
}

/** In how many blocks of the size there is data. */
async function countBlocks(node: BlockNode, sizeBytes: number, options: Pick<WorkOptions, "signal">): Promise<number> {
  let blocks = 0;
  let next = 0;
  const count = ({ startBytes, lengthBytes, data, zero }: qemuImg.Extent) => {
    if (!data || zero || lengthBytes === 0) return;
    const first = Math.max(next, Math.floor(startBytes / sizeBytes));
    next = Math.max(next, Math.ceil((startBytes + lengthBytes) / sizeBytes));
    blocks += Math.max(0, next - first);
  };
  await qemuImg.map(node, count, options);
  return blocks;
}

/** What each format takes at once, as QEMU 7.2 makes it (block/vdi.c, vpc.c, vhdx.c, vmdk.c): any data in it costs all of it. */
function blockBytes(format: DiskFormat, virtualSizeBytes: number): number {
  if (format === "vdi") return MiB;
  if (format === "vhd") return 2 * MiB;
  if (format === "vhdx") return virtualSizeBytes > 100 * GiB ? 64 * MiB : 16 * MiB;
  return MiB / 16;
}

/** Headers and a log of some MiB, and tables of at most 16 bytes per 64 KiB; plain bytes have neither. */
function metadataBytes(format: DiskFormat, virtualSizeBytes: number): number {
  return isPlain(format) ? 0 : 8 * MiB + virtualSizeBytes / 4096;
}
