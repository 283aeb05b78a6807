import { type BlockNode, fileNode } from "#/domain/block-node.ts";
import { AppError } from "#/domain/errors.ts";
import { formatBytes } from "#/lib/units.ts";
import type { NewDisk, StorageDriver, WorkOptions } from "#/storage/driver.ts";
import * as qemuImg from "#/tools/qemu-img.ts";
import { type Content, copyInto } from "#/transfer/copy.ts";
import { measureNode } from "#/transfer/measure.ts";
import { readNode } from "#/transfer/read-ahead.ts";
import { dataBytes, isPlain, isSameContent, openSource, type Source, statSource } from "#/transfer/source.ts";
import { type Staging, StagingFile } from "#/transfer/staging.ts";

export interface Target {
  readonly pool: StorageDriver;
  readonly disk: NewDisk;
}

export interface Conversion extends WorkOptions {
  readonly source: Source;
  readonly target: Target;
  /** Compressed clusters, for qcow2 and vmdk. */
  readonly compress?: boolean | undefined;
  /** 0 is without a limit. Bytes that we read or write ourselves have the pools' own limits. */
  readonly bytesPerSecondMax?: number | undefined;
}

/** What really happened: bytes that were read, holes not counted, and the space that was filled. */
export interface Moved {
  readonly bytesRead: number;
  readonly bytesWritten: number;
}

/**
 * Makes the target with the source's content in the target's format: one pass, holes and zeroes left out, no temporary
 * file; a raw target may be larger. The same format is copied byte for byte, so that its hashes stay, unless it is to be
 * compressed. Errors: `not_supported` where that takes `stageThenConvert()`; those of both pools and of qemu-img.
 */
export async function convert(conversion: Conversion): Promise<Moved> {
  const bytesRead = await moveContent(conversion);
  return { bytesRead, bytesWritten: (await statSource(conversion.target)).allocatedBytes };
}

/**
 * As `convert()`, through temporary files where an end of it cannot be reached by QEMU: their space is promised first, and
 * they are removed whatever happens. The bytes of these files count as read and as written too. `pool_full` where staging has no room.
 */
export async function stageThenConvert(conversion: Conversion & { readonly staging: Staging }): Promise<Moved & { readonly bytesTemporary: number }> {
  if (isStreamable(conversion)) return { ...(await convert(conversion)), bytesTemporary: 0 };
  const { source, target } = conversion;
  const [arriving, converting] = halves(conversion);
  await using arrived = isReadable(source) ? undefined : await stageSource(arriving);
  const node = arrived ? fileNode(arrived.path, source.disk.format) : await openSource(source);
  const leavingBytes = await putConverted(node, converting);
  const bytesTemporary = leavingBytes + ((await arrived?.allocatedBytes()) ?? 0);
  return {
    bytesRead: (await dataBytes(source)) + bytesTemporary,
    bytesWritten: (await statSource(target)).allocatedBytes + bytesTemporary,
    bytesTemporary,
  };
}

/** Whether one pass is enough: the bytes stay the same, or QEMU reaches the source, and the target unless that is plain bytes. */
export function isStreamable({ source, target, compress }: Conversion): boolean {
  if (isSameContent(source.disk.format, target.disk.format) && !compress) return true;
  return isReadable(source) && (isWritable(target) || isPlain(target.disk.format));
}

const isReadable = ({ pool }: Source): boolean => pool.can.addressable !== "none";
const isWritable = ({ pool }: Target): boolean => pool.can.addressable === "write";

/** Returns the bytes that were read. */
async function moveContent(conversion: Conversion): Promise<number> {
  const { source, target, compress } = conversion;
  if (!isStreamable(conversion)) throw notStreamable(conversion);
  const isSame = isSameContent(source.disk.format, target.disk.format) && !compress;
  const bothAddressable = isReadable(source) && isWritable(target);
  if (bothAddressable && (!isSame || target.disk.format === "raw")) {
    await fill(await openSource(source), conversion);
    return dataBytes(source);
  }
  return receive(isSame ? await storedContent(conversion) : await guestContent(await openSource(source), conversion), conversion);
}

/** Has QEMU write the target in its pool. */
async function fill(node: BlockNode, { target, compress, ...options }: Omit<Conversion, "source">): Promise<void> {
  const { pool, disk } = target;
  const { signal } = options;
  await pool.fill(disk, (made) => qemuImg.convert(node, disk.format === "raw" ? made : newFile(made, compress), options), { signal });
}

/** Writes content into the target through us. Returns the bytes that were read. */
async function receive(content: Content, { target, signal, onProgress }: Omit<Conversion, "source">): Promise<number> {
  const { pool, disk } = target;
  const sizeBytes = disk.format === "raw" ? Math.max(content.sizeBytes, disk.virtualSizeBytes) : content.sizeBytes;
  return copyInto(await pool.receive(disk, { signal }), content, sizeBytes, { onProgress });
}

/** The source as it is stored, in a staging file. */
async function stageSource(conversion: Conversion & { readonly staging: Staging }): Promise<StagingFile> {
  const { source, staging, signal, onProgress } = conversion;
  const content = await storedContent(conversion);
  const file = await StagingFile.create(staging, "source", isPlain(source.disk.format) ? await dataBytes(source) : content.sizeBytes);
  try {
    await copyInto(await file.writer(signal), content, content.sizeBytes, { onProgress });
    return file;
  } catch (error) {
    await file[Symbol.asyncDispose]();
    throw error;
  }
}

/** Puts what a node shows into the target. Returns the bytes of the temporary file that took, if it took one. */
async function putConverted(node: BlockNode, conversion: Conversion & { readonly staging: Staging }): Promise<number> {
  const { source, target, staging, compress, signal } = conversion;
  if (isWritable(target)) await fill(node, conversion);
  else if (isPlain(target.disk.format)) await receive(await guestContent(node, conversion), conversion);
  else {
    const [converting, leaving] = halves(conversion);
    const neededBytes = await measureNode(node, { format: target.disk.format, virtualSizeBytes: source.disk.virtualSizeBytes }, { signal });
    await using file = await StagingFile.create(staging, "target", neededBytes);
    await qemuImg.convert(node, newFile(fileNode(file.path, target.disk.format), compress), converting);
    await receive(await file.content(signal), leaving);
    return await file.allocatedBytes();
  }
  return 0;
}

async function storedContent({ source, signal }: Conversion): Promise<Content> {
  const { sizeBytes } = await statSource(source);
  return { blocks: source.pool.read(source.disk, { start: 0, end: sizeBytes }, { signal }), sizeBytes };
}

/** What a guest would see. QEMU's own word on its size: a record that is too small must not cut a disk. */
async function guestContent(node: BlockNode, { target, signal }: Omit<Conversion, "source">): Promise<Content> {
  const { virtualSizeBytes } = await qemuImg.info(node, { signal });
  if (virtualSizeBytes > target.disk.virtualSizeBytes) {
    const sizes = `${formatBytes(virtualSizeBytes)}, and the new disk only ${formatBytes(target.disk.virtualSizeBytes)}`;
    throw new AppError("bad_request", `The source has ${sizes}.`);
  }
  return { blocks: readNode(node, { start: 0, end: virtualSizeBytes }, signal), sizeBytes: virtualSizeBytes };
}

/** The file that QEMU is to create, where the pool expects it. */
function newFile(node: BlockNode, compress: boolean | undefined): qemuImg.NewFile {
  if (node.driver === "file" || node.driver === "nbd" || node.driver === "raw" || node.driver === "luks" || node.file.driver !== "file") {
    throw new Error(`Broken invariant: qemu-img cannot create ${node.driver}`);
  }
  return { filename: node.file.filename, format: node.driver, compress };
}

function notStreamable({ source, target }: Conversion): AppError {
  const { pool, disk } = isReadable(source) ? target : source;
  const because = pool.can.why.addressable ?? "QEMU cannot reach its pool";
  const formats = `from ${source.disk.format} to ${target.disk.format}`;
  return new AppError("not_supported", `Cannot convert disk ${source.disk.id} ${formats} in one pass: disk ${disk.id} cannot be opened in place, since ${because}.`);
}

/** The same work twice, with one progress for both. */
function halves<Work extends WorkOptions>(work: Work): [Work, Work] {
  const { onProgress } = work;
  return [
    { ...work, onProgress: (fraction: number) => onProgress?.(fraction / 2) },
    { ...work, onProgress: (fraction: number) => onProgress?.((1 + fraction) / 2) },
  ];
}
