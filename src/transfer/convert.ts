import { type BlockNode, fileNode } from "#/domain/block-node.ts";
import type { ClusterCompression, Compression } from "#/domain/compression.ts";
import type { Disk } from "#/domain/disk.ts";
import { AppError } from "#/domain/errors.ts";
import { formatBytes } from "#/lib/units.ts";
import type { Fill, NewDisk, StorageDriver, WorkOptions } from "#/storage/driver.ts";
import * as qemuImg from "#/tools/qemu-img.ts";
import { counted } from "#/transfer/blocks.ts";
import { compressionEngine } from "#/transfer/compress.ts";
import { type BeforeBytes, type Content, copyInto } from "#/transfer/copy.ts";
import { measureNode } from "#/transfer/measure.ts";
import { readNode } from "#/storage/read-ahead.ts";
import { dataBytes, formatOf, isPlain, isReadable, isSameContent, openSource, type Source, statSource, withFacts } from "#/transfer/source.ts";
import { type Staging, StagingFile } from "#/transfer/staging.ts";
import { unpack } from "#/transfer/unpack.ts";

export interface Target {
  readonly pool: StorageDriver;
  readonly disk: NewDisk & Pick<Disk, "packed">;
}

export interface Conversion extends WorkOptions {
  readonly source: Source;
  readonly target: Target;
  /** Compressed clusters, for qcow2; of a vmdk they make a stream-optimized one, by deflate. */
  readonly clusters?: ClusterCompression | undefined;
  /** The whole as a compressed stream: the target is `opaque`, with the disk's own format `packed` in it. */
  readonly compress?: Compression | undefined;
  /** Asked before data whose amount was not known beforehand: a compressed stream's, in either direction. */
  readonly beforeBytes?: BeforeBytes | undefined;
  /** How fast QEMU may read where the source lies; 0 is without a limit. How fast it may write, the target's pool says; what we move ourselves, each pool counts. */
  readonly bytesPerSecondMax?: number | undefined;
}

/** What really happened: bytes that were read, holes not counted, and the space that was filled. */
export interface Moved {
  readonly bytesRead: number;
  readonly bytesWritten: number;
}

/**
 * Makes the target with the source's content in the target's format: one pass, holes and zeroes left out, no temporary
 * file; a raw target may be larger. The same format is copied byte for byte, so that its hashes stay, unless its clusters are to be
 * compressed. What comes out of a compressed stream is inspected before anything reads it. Errors: `not_supported` where that
 * takes `stageThenConvert()`; those of both pools, of qemu-img, of `unpack()`.
 */
export async function convert(given: Conversion): Promise<Moved> {
  const conversion = await withFacts(given);
  const bytesRead = await moveContent(conversion);
  const { allocatedBytes } = await statSource(conversion.target);
  return { bytesRead, bytesWritten: allocatedBytes };
}

/**
 * As `convert()`, through temporary files where an end of it cannot be reached by QEMU: their space is promised first, and
 * they are removed whatever happens. The bytes of these files count as read and as written too. `pool_full` where staging has no room.
 */
export async function stageThenConvert(given: Conversion & { readonly staging: Staging }): Promise<Moved & { readonly bytesTemporary: number }> {
  const conversion = await withFacts(given);
  if (isStreamable(conversion)) return { ...(await convert(conversion)), bytesTemporary: 0 };
  const { source, target } = conversion;
  const [arriving, converting] = halves(conversion);
  await using arrived = isReadable(source) ? undefined : await stageSource(arriving);
  const node = arrived ? fileNode(arrived.path, formatOf(source)) : await openSource(source);
  const leavingBytes = await putConverted(node, converting);
  const bytesTemporary = leavingBytes + ((await arrived?.allocatedBytes()) ?? 0);
  return {
    bytesRead: (await dataBytes(source)) + bytesTemporary,
    bytesWritten: (await statSource(target)).allocatedBytes + bytesTemporary,
    bytesTemporary,
  };
}

/** Whether one pass is enough: the bytes stay the same, or QEMU reaches the source, and the target unless that is plain bytes. */
export function isStreamable(conversion: Conversion): boolean {
  const { source, target } = conversion;
  return isSame(conversion) || (isReadable(source) && (isWritable(target) || isPlain(formatOf(target))));
}

const isSame = (conversion: Conversion): boolean => keepsStream(conversion) || (isSameContent(formatOf(conversion.source), formatOf(conversion.target)) && !conversion.clusters);
/** Nobody looks into what is opaque at both ends. */
const keepsStream = ({ source, target, compress }: Conversion): boolean => source.disk.format === "opaque" && target.disk.format === "opaque" && !compress;
const isWritable = ({ pool, disk }: Target): boolean =>
  pool.can.addressable === "write" && !disk.packed && (pool.can.fills?.includes(disk.format) ?? true);

/** Returns the bytes that were read. What all of the source has is asked for while QEMU is at work. */
async function moveContent(conversion: Conversion): Promise<number> {
  const { source, target } = conversion;
  if (!isStreamable(conversion)) throw notStreamable(conversion);
  const bothAddressable = isReadable(source) && isWritable(target);
  if (bothAddressable && (!isSame(conversion) || target.disk.format === "raw")) {
    const opening = openSource(source);
    const asking = opening.then(() => dataBytes(source));
    asking.catch(() => {}); // Nobody goes on before QEMU has ended.
    await fill(opening, conversion);
    return asking;
  }
  const content = isSame(conversion) ? await sourceContent(conversion) : await guestContent(await openSource(source), conversion);
  const readBytes = await receive(content, conversion);
  return source.disk.packed ? dataBytes(source) : readBytes;
}

/** Has QEMU write the target in its pool, which gets ready for it while the source is opened. */
async function fill(opening: Promise<BlockNode>, { target, clusters, ...options }: Omit<Conversion, "source">): Promise<void> {
  const { pool, disk } = target;
  const { signal } = options;
  const write: Fill = async (made, rate) => {
    const newDisk = disk.format === "raw" ? made : newFile(made, clusters);
    await qemuImg.convert(await opening, newDisk, { ...options, bytesPerSecondMax: slower(options.bytesPerSecondMax, rate) });
  };
  await pool.fill(disk, write, { signal });
}

/** Of two limits, the one that holds; 0 and undefined are none. */
function slower(one = 0, other = 0): number {
  return one > 0 && other > 0 ? Math.min(one, other) : Math.max(one, other);
}

/** Writes content into the target through us. Returns the bytes that were read. */
async function receive(content: Content, { target, compress, signal, onProgress, beforeBytes }: Omit<Conversion, "source">): Promise<number> {
  const { pool, disk } = target;
  const stored = compress ? await compressed(content, { compress, signal, onProgress }) : content;
  const sizeBytes = disk.format === "raw" ? Math.max(stored.sizeBytes ?? 0, disk.virtualSizeBytes) : stored.sizeBytes;
  return copyInto(await pool.receive(disk, { signal }), stored, sizeBytes, { onProgress, beforeBytes });
}

/** How long it will be is known at its end. */
async function compressed({ blocks, sizeBytes: totalBytes = 0 }: Content, { compress, signal, onProgress }: Pick<Conversion, "signal" | "onProgress"> & { compress: Compression }): Promise<Content> {
  const engine = await compressionEngine(compress);
  return { blocks: engine.compress(counted(blocks, { totalBytes, onProgress }), signal), sizeBytes: undefined };
}

/** The source, out of its compressed stream if it is in one, in a staging file. */
async function stageSource(conversion: Conversion & { readonly staging: Staging }): Promise<StagingFile> {
  const { source, staging, signal, onProgress } = conversion;
  const content = await sourceContent(conversion);
  const firstBytes = isPlain(source.disk.format) || content.sizeBytes === undefined ? await dataBytes(source) : content.sizeBytes;
  const file = await StagingFile.create(staging, "source", firstBytes);
  try {
    await copyInto(await file.writer(signal), content, content.sizeBytes, { onProgress, beforeBytes: (totalBytes) => file.reach(totalBytes) });
    return file;
  } catch (error) {
    await file[Symbol.asyncDispose]();
    throw error;
  }
}

/** Puts what a node shows into the target. Returns the bytes of the temporary file that took, if it took one. */
async function putConverted(node: BlockNode, conversion: Conversion & { readonly staging: Staging }): Promise<number> {
  const { source, target, staging, clusters, signal } = conversion;
  if (source.disk.packed) await checkUnpacked(node, conversion);
  if (isWritable(target)) await fill(Promise.resolve(node), conversion);
  else if (isPlain(formatOf(target))) await receive(await guestContent(node, conversion), conversion);
  else {
    const [converting, leaving] = halves(conversion);
    const neededBytes = await measureNode(node, { format: formatOf(target), virtualSizeBytes: source.disk.virtualSizeBytes }, { signal });
    await using file = await StagingFile.create(staging, "target", neededBytes);
    await qemuImg.convert(node, newFile(fileNode(file.path, formatOf(target)), clusters), converting);
    await receive(await file.content(signal), leaving);
    return await file.allocatedBytes();
  }
  return 0;
}

/** Of a disk that came out of a compressed stream nothing was known before: what it takes is promised now. */
async function checkUnpacked(node: BlockNode, { target, signal, beforeBytes }: Conversion): Promise<void> {
  await checkFits(node, target, signal);
  const neededBytes = await measureNode(node, target.disk, { signal });
  await beforeBytes?.(neededBytes, neededBytes);
}

/** The source's bytes in its format. */
async function sourceContent(conversion: Conversion): Promise<Content> {
  const { source, target, signal, onProgress } = conversion;
  const { sizeBytes } = await statSource(source);
  const blocks = source.pool.read(source.disk, { start: 0, end: sizeBytes }, { signal });
  const { packed } = source.disk;
  if (!packed || keepsStream(conversion)) return { blocks, sizeBytes };
  return { blocks: unpack(counted(blocks, { totalBytes: sizeBytes, onProgress }), { format: packed, virtualSizeBytesMax: target.disk.virtualSizeBytes }), sizeBytes: undefined };
}

/** What a guest would see. */
async function guestContent(node: BlockNode, { target, signal }: Omit<Conversion, "source">): Promise<Content> {
  const virtualSizeBytes = await checkFits(node, target, signal);
  return { blocks: readNode(node, { start: 0, end: virtualSizeBytes }, signal), sizeBytes: virtualSizeBytes };
}

/** QEMU's own word on the size of a disk: a record that is too small must not cut it. */
async function checkFits(node: BlockNode, { disk }: Target, signal: AbortSignal | undefined): Promise<number> {
  const { virtualSizeBytes } = await qemuImg.info(node, { signal });
  if (virtualSizeBytes <= disk.virtualSizeBytes) return virtualSizeBytes;
  throw new AppError("bad_request", `The source has ${formatBytes(virtualSizeBytes)}, and the new disk only ${formatBytes(disk.virtualSizeBytes)}.`);
}

/** The file that QEMU is to create, where the pool expects it. */
function newFile(node: BlockNode, clusters: ClusterCompression | undefined): qemuImg.NewFile {
  if (!("file" in node) || node.driver === "raw" || node.driver === "luks") throw new Error(`Broken invariant: qemu-img cannot create ${node.driver}`);
  if (node.file.driver === "rbd") return { filename: node.file, format: node.driver, clusters };
  if ("filename" in node.file) return { filename: node.file.filename, format: node.driver, clusters };
  throw new Error(`Broken invariant: qemu-img cannot create ${node.driver} in ${node.file.driver}`);
}

function notStreamable({ source, target }: Conversion): AppError {
  const { pool, disk } = isReadable(source) ? target : source;
  const because = disk.packed ? "it is a compressed stream" : (source.onlyInOrder ?? pool.can.why.addressable ?? "QEMU cannot reach its pool");
  const formats = `from ${formatOf(source)} to ${formatOf(target)}`;
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
