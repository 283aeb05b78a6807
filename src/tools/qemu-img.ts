import { constants } from "node:fs";
import { open } from "node:fs/promises";
import { type BlockNode, certificateFolder, type NbdNode, type RbdNode, rbdSetting } from "#/domain/block-node.ts";
import type { ClusterCompression } from "#/domain/compression.ts";
import { AppError } from "#/domain/errors.ts";
import { GiB, HOUR_MS, KiB, MINUTE_MS, SECOND_MS } from "#/lib/units.ts";
import { rethrowFull } from "#/tools/full-disk.ts";
import { type Finished, type RunOptions, run } from "#/tools/run.ts";

/**
 * qemu-img (QEMU 7.2): our data plane for disk formats. Every node is named with its format, so nothing is ever
 * probed; every run is confined to the files that its nodes name.
 */

/** A new file of another format than raw, as qemu-img creates and fills it in one pass. */
export interface NewFile {
  /** A path; or an image in a Ceph cluster, which is not there yet. */
  readonly filename: string | RbdNode;
  readonly format: FileFormat;
  /** Compressed clusters; of a vmdk they make a stream-optimized one, by deflate. */
  readonly clusters?: ClusterCompression | undefined;
}
export type FileFormat = "qcow2" | "vmdk" | "vpc" | "vhdx" | "vdi";

export interface ConvertOptions {
  readonly signal?: AbortSignal | undefined;
  /** From 0 to 1. */
  readonly onProgress?: ((fraction: number) => void) | undefined;
  readonly timeoutMs?: number | undefined;
  /** So that guests on the same storage keep their share; 0 is without a limit. */
  readonly bytesPerSecondMax?: number | undefined;
}

/**
 * Copies what `source` holds into `target`, in one pass and skipping zeroes: either into a node that exists, has at least the
 * source's size and reads as zeroes, or into a new file. Errors: as `run()`, and `pool_full`.
 */
export async function convert(source: BlockNode, target: BlockNode | NewFile, options: ConvertOptions = {}): Promise<void> {
  if ("format" in target && target.format === "qcow2" && typeof target.filename !== "string") {
    return convertIntoCeph(source, { ...target, rbd: target.filename }, options);
  }
  return convertInto(source, target, options);
}

/**
 * QEMU makes an image in Ceph longer at each write beyond its end, with a call of some 50 ms (block/rbd.c, qemu_rbd_resize): at clusters of
 * 64 KiB that is a quarter of an hour per GiB. So the file is made as long as it can get, is filled, and loses the rest.
 */
async function convertIntoCeph(source: BlockNode, target: NewFile & { readonly rbd: RbdNode }, options: ConvertOptions): Promise<void> {
  const { rbd, clusters } = target;
  const [{ virtualSizeBytes }, lengthBytes] = await Promise.all([info(source, options), measure(source, "qcow2", options)]);
  const createWith = createOptions(target);
  const create = ["create", "-q", "-f", "qcow2", ...(createWith ? ["-o", createWith] : []), creatable(rbd), String(virtualSizeBytes)];
  await qemuImg(create, { ...LOOK_LIMITS, signal: options.signal, nodes: [rbd], writable: [] });
  await resize({ driver: "raw", file: rbd }, lengthBytes, options);
  const file: BlockNode = { driver: "qcow2", file: rbd, backing: null };
  await convertInto(source, file, { ...options, clusters });
  await resize({ driver: "raw", file: rbd }, await endOf(file, options), { ...options, shrink: true });
}

async function convertInto(source: BlockNode, target: BlockNode | NewFile, options: ConvertOptions & Pick<NewFile, "clusters">): Promise<void> {
  const node = "format" in target ? protocolOf(target) : target;
  const direct = { source: await allDirect(diskFilesOf(source)), target: !endsInSectors(target) && (await allDirect(changedFiles(node))) };
  // In this order: those who pass on the options of a whole conversion have a source and a target among them.
  await qemuImg(convertArguments(source, target, { ...options, ...direct }), {
    ...convertLimits,
    signal: options.signal,
    timeoutMs: options.timeoutMs ?? convertLimits.timeoutMs,
    onLine: (line) => reportProgress(line, options.onProgress),
    nodes: [source, node],
    writable: changedFiles(node),
  });
}

/** The place of a new file as a node without a format. */
function protocolOf({ filename }: NewFile): BlockNode {
  return typeof filename === "string" ? { driver: "file", filename } : filename;
}

/**
 * Arguments of `qemu-img convert`. `-t none -T none -W` (no page cache, writes in any order) took a fifth of the processor
 * time of the defaults on a 2 GiB disk. `direct` says where O_DIRECT can be used.
 */
export function convertArguments(
  source: BlockNode,
  target: BlockNode | NewFile,
  direct: { readonly source: boolean; readonly target: boolean } & Pick<ConvertOptions, "bytesPerSecondMax"> & Pick<NewFile, "clusters">,
): string[] {
  // "writeback" rather than convert's default "unsafe": what we call done is on stable storage.
  const caches = ["-t", direct.target ? "none" : "writeback", "-T", direct.source ? "none" : "writeback"];
  const rate = direct.bytesPerSecondMax ? ["-r", String(direct.bytesPerSecondMax)] : [];
  return ["convert", "-p", ...caches, "-W", ...rate, ...targetArguments(source, target, direct.clusters)];
}

function targetArguments(source: BlockNode, target: BlockNode | NewFile, clusters: NewFile["clusters"]): string[] {
  if (!("format" in target) && networkNodes(target).length > 0) {
    // More at once hides the way over the network (318 instead of 757 ms with Ceph). A node of Ceph's cannot be said as options: a key has "=" in it.
    const compress = clusters ? ["-c"] : [];
    return [...compress, "-n", "--target-is-zero", "-m", "16", "-O", target.driver, jsonFilename(source), jsonFilename(target)];
  }
  if (!("format" in target)) {
    return ["-n", "--target-is-zero", "--target-image-opts", jsonFilename(source), imageOptions(target)];
  }
  const options = createOptions(target);
  const compress = target.clusters ? ["-c", "-m", "2"] : [];
  return [...compress, "-O", target.format, ...(options ? ["-o", options] : []), jsonFilename(source), creatable(target.filename)];
}

/** Per format; `vpc` else rounds the size to what CHS can say. */
function createOptions({ format, clusters }: NewFile): string | undefined {
  if (format === "qcow2") return clusters && `compression_type=${clusters}`;
  if (format === "vpc") return "subformat=dynamic,force_size=on";
  if (format === "vmdk") return clusters && "subformat=streamOptimized";
  return undefined;
}

/** A qcow2 file that shows the content of `backing` until it is written to. */
export interface Overlay {
  readonly filename: string;
  /** A whole number of 512-byte sectors. */
  readonly virtualSizeBytes: number;
  /** As it stands in the header: relative to the overlay's folder. We never read it back as a path. */
  readonly backingFilename: string;
  readonly backingFormat: "raw" | "qcow2";
}

/** Makes an overlay; a file of the same name is overwritten. The backing file is not looked at. */
export async function createOverlay(overlay: Overlay, options: Pick<RunOptions, "signal"> = {}): Promise<void> {
  // Reads no bytes of a user, so it needs no sandbox: that halves the time of a clone.
  await run("qemu-img", createOverlayArguments(overlay), { timeoutMs: LOOK_LIMITS.timeoutMs, ...options }).catch(rethrowFull);
}

export function createOverlayArguments({ filename, virtualSizeBytes, backingFilename, backingFormat }: Overlay): string[] {
  return ["create", "-q", "-f", "qcow2", "-u", "-b", backingFilename, "-F", backingFormat, filename, String(virtualSizeBytes)];
}

/** Makes a qcow2 file that shows zeroes until it is written to; a file of the same name is overwritten. */
export async function createEmpty(filename: string, virtualSizeBytes: number, options: Pick<RunOptions, "signal"> = {}): Promise<void> {
  const args = ["create", "-q", "-f", "qcow2", filename, String(virtualSizeBytes)];
  await run("qemu-img", args, { timeoutMs: LOOK_LIMITS.timeoutMs, ...options }).catch(rethrowFull);
}

interface ResizeOptions extends Pick<RunOptions, "signal"> {
  /** The disk may also become smaller, and loses what is beyond. */
  readonly shrink?: boolean;
}

/** Makes a disk larger; the new end reads as zeroes. */
export async function resize(node: BlockNode, virtualSizeBytes: number, { signal, shrink }: ResizeOptions = {}): Promise<void> {
  const args = ["resize", "-q", ...(shrink ? ["--shrink"] : []), jsonFilename(node), String(virtualSizeBytes)];
  await qemuImg(args, { ...LOOK_LIMITS, signal, nodes: [node], writable: changedFiles(node) });
}

export interface DiskInfo {
  readonly format: string;
  readonly virtualSizeBytes: number;
  readonly allocatedBytes: number;
}

/** What the node's own file says; the files that it reads through are not opened. */
export async function info(node: BlockNode, options: Pick<RunOptions, "signal"> = {}): Promise<DiskInfo> {
  const alone = "backing" in node ? { ...node, backing: null } : node;
  const json = await look(["info", "--output=json", jsonFilename(alone)], alone, options);
  return {
    format: String(json["format"]),
    virtualSizeBytes: Number(json["virtual-size"]),
    allocatedBytes: Number(json["actual-size"]),
  };
}

/** Bytes that a conversion into a file of `format` will take at most, known before the first one is written. */
export async function measure(node: BlockNode, format: "raw" | "qcow2", options: Pick<RunOptions, "signal"> = {}): Promise<number> {
  const json = await look(["measure", "--output=json", "-O", format, jsonFilename(node)], node, options);
  return Number(json["required"]);
}

/** Where the last cluster of a qcow2 ends: the length of its file, where that lies on a device. */
export async function endOf(node: BlockNode, options: Pick<RunOptions, "signal"> = {}): Promise<number> {
  const json = await look(["check", "--output=json", jsonFilename(node)], node, options);
  return Number(json["image-end-offset"]);
}

export interface Extent {
  readonly startBytes: number;
  readonly lengthBytes: number;
  /** Takes space in the disk or in one that it reads through. */
  readonly data: boolean;
  readonly zero: boolean;
  /** Through how many disks it is read: 0 is the node's own, 1 that of its backing node, … */
  readonly depth: number;
}

interface MapOptions extends Pick<RunOptions, "signal"> {
  /** Only this part; without it, all. */
  readonly range?: { readonly start: number; readonly end: number } | undefined;
}

/**
 * Every extent of what a guest sees, in order, as qemu-img finds them: a badly scattered disk has millions. A
 * disk that a guest has open is looked at as it is in this moment (-U): its locks are not asked for, and the guest is not disturbed.
 */
export async function map(node: BlockNode, onExtent: (extent: Extent) => void, { range, ...options }: MapOptions = {}): Promise<void> {
  const part = range ? [`--start-offset=${range.start}`, `--max-length=${range.end - range.start}`] : [];
  const args = ["map", "-U", "--output=json", ...part, jsonFilename(node)];
  const onLine = (line: string) => line.includes("{") && onExtent(parseExtent(line));
  await qemuImg(args, { ...MAP_LIMITS, ...options, onLine, nodes: [node], writable: [] });
}

/** One line of `qemu-img map --output=json`, which prints an array with an extent per line. */
function parseExtent(line: string): Extent {
  const extent = parseJson(line.replace(/^\[/, "").replace(/[,\]]$/, ""), "map");
  return {
    startBytes: Number(extent["start"]),
    lengthBytes: Number(extent["length"]),
    data: extent["data"] === true,
    zero: extent["zero"] === true,
    depth: Number(extent["depth"]),
  };
}

/** The node as a file name: QEMU's `json:` pseudo-protocol, which says every format and every backing file. */
export function jsonFilename(node: BlockNode): string {
  return `json:${JSON.stringify(node)}`;
}

/** The node as `--target-image-opts` takes it: `driver=raw,file.driver=file,file.filename=…`, commas doubled. */
function imageOptions(node: BlockNode): string {
  return flatten(node, "").join(",");
}

/** Every file, and folder of certificates, that opening the node touches. */
export function filesOf(node: BlockNode): string[] {
  return [...diskFilesOf(node), ...networkNodes(node).flatMap((inner) => (inner.driver === "rbd" ? cephFiles(inner) : (certificateFolder(inner) ?? [])))];
}

/** Those of them that hold bytes of the disk. */
function diskFilesOf(node: BlockNode): string[] {
  if (node.driver === "file" || node.driver === "host_device") return [node.filename];
  if (node.driver === "nbd") return node.server.type === "unix" ? [node.server.path] : [];
  if (node.driver === "rbd") return [];
  const backing = "backing" in node && node.backing ? diskFilesOf(node.backing) : [];
  return [...diskFilesOf(node.file), ...backing];
}

/** What opening the node opens in Ceph clusters, and on other hosts: that needs the network, and keys. */
function networkNodes(node: BlockNode): (RbdNode | NbdNode)[] {
  if (node.driver === "rbd") return [node];
  if (node.driver === "nbd") return node.server.type === "inet" ? [node] : [];
  if (node.driver === "file" || node.driver === "host_device") return [];
  return [...networkNodes(node.file), ...("backing" in node && node.backing ? networkNodes(node.backing) : [])];
}

function cephFiles(node: RbdNode): string[] {
  const keyring = rbdSetting(node, "keyring");
  return keyring ? [node.conf, keyring] : [node.conf];
}

/** The only file that a writer of the node changes, where it is one of this machine's. */
export function changedFiles(node: BlockNode): string[] {
  if (node.driver === "nbd" && node.server.type === "unix") throw new Error("Broken invariant: what is shown on a socket is only read");
  if (node.driver === "rbd" || node.driver === "nbd") return [];
  return node.driver === "file" || node.driver === "host_device" ? [node.filename] : changedFiles(node.file);
}

/** The objects that QEMU's programs must have before they open the nodes: the certificates for NBD servers on other hosts (qemu(1), tls-creds-x509). */
export function objectArguments(nodes: readonly BlockNode[]): string[] {
  const remote = nodes.flatMap(networkNodes).filter((node) => node.driver === "nbd");
  const ids = new Map(remote.map((node) => [node["tls-creds"], certificateFolder(node)]));
  return [...ids].flatMap(([id, folder]) => (folder === undefined ? [] : ["--object", `tls-creds-x509,id=${id},endpoint=client,verify-peer=on,dir=${folder.replaceAll(",", ",,")}`]));
}

/** How a new file is named for qemu-img, which takes no `json:` there; an image in Ceph as block/rbd.c reads names. */
function creatable(filename: NewFile["filename"]): string {
  if (typeof filename === "string") return filename;
  const { pool, namespace, image, conf, user } = filename;
  const pairs = JSON.parse(filename["=keyvalue-pairs"]) as string[];
  const settings = pairs.flatMap((name, i) => (i % 2 === 0 ? [`${name}=${pairs[i + 1]}`] : []));
  const escaped = (text: string) => text.replace(/[:@\\=]/g, "\\$&");
  const place = [pool, ...(namespace ? [namespace] : []), image].map(escaped).join("/");
  return ["rbd", place, ...[`id=${user}`, `conf=${conf}`, ...settings].map((pair) => pair.replace(/[:@\\]/g, "\\$&"))].join(":");
}

function flatten(value: object, prefix: string): string[] {
  return Object.entries(value).flatMap(([key, inner]) => {
    if (inner === null) return []; // A new file has no backing file that could be opened by mistake.
    if (typeof inner === "object") return flatten(inner as object, `${prefix}${key}.`);
    return [`${prefix}${key}=${String(inner).replaceAll(",", ",,")}`];
  });
}

/** `    (12.34/100%)` */
function reportProgress(line: string, onProgress?: (fraction: number) => void): void {
  const percent = /\((\d+(?:\.\d+)?)\/100%\)/.exec(line)?.[1];
  if (percent) onProgress?.(Number(percent) / 100);
}

/** What one run of a tool may take. */
export interface ToolLimits {
  readonly timeoutMs: number;
  readonly addressSpaceBytes: number;
  readonly cpuSeconds: number;
}

/** Nova, Glance and Cinder give `qemu-img info` 30 s of processor time and 1 GiB (oslo.concurrency ProcessLimits). */
const LOOK_LIMITS: ToolLimits = { timeoutMs: 30 * SECOND_MS, addressSpaceBytes: GiB, cpuSeconds: 30 };
/** A map reads only metadata, but all of it. */
const MAP_LIMITS: ToolLimits = { timeoutMs: 10 * MINUTE_MS, addressSpaceBytes: GiB, cpuSeconds: 300 };
/** Some TiB at the speed of a slow disk; zlib takes 18 s per 2 GiB. The thread stacks alone take 0.5 GiB of address space. */
let convertLimits: ToolLimits = { timeoutMs: 12 * HOUR_MS, addressSpaceBytes: 2 * GiB, cpuSeconds: 12 * 3600 };

/** Sets what a run of qemu-img that moves bytes may take; once, at the start, from the configuration. */
export function limitConversions(limits: ToolLimits): void {
  convertLimits = limits;
}

interface Call extends ToolLimits, Pick<RunOptions, "signal" | "onLine"> {
  readonly nodes: readonly BlockNode[];
  readonly writable: readonly string[];
}

/** What a program that opens the nodes must be able to reach, and no more. */
export function reachOf(nodes: readonly BlockNode[]): { readable: string[]; network: boolean } {
  return { readable: nodes.flatMap(filesOf), network: nodes.some((node) => networkNodes(node).length > 0) };
}

async function qemuImg([command = "", ...args]: readonly string[], call: Call): Promise<Finished> {
  const { addressSpaceBytes, cpuSeconds, nodes, writable, ...options } = call;
  const confine = { addressSpaceBytes, cpuSeconds, ...reachOf(nodes), writable };
  return run("qemu-img", [command, ...objectArguments(nodes), ...args], { ...options, confine }).catch(rethrowFull);
}

async function look(args: readonly string[], node: BlockNode, options: Pick<RunOptions, "signal">) {
  const call = { ...LOOK_LIMITS, ...options, nodes: [node], writable: [] };
  const { stdout } = await qemuImg(args, call);
  return parseJson(stdout, args[0] as string);
}

function parseJson(text: string, command: string): Record<string, unknown> {
  try {
    return JSON.parse(text) as Record<string, unknown>;
  } catch (cause) {
    throw new AppError("tool_failed", `Cannot read what qemu-img ${command} printed: ${text.slice(0, 4 * KiB)}`, { cause });
  }
}

/**
 * A VHD ends with a footer of 512 bytes, a stream-optimized VMDK with a marker: where O_DIRECT takes whole blocks of 4 KiB (btrfs, 4Kn disks)
 * QEMU would make the file longer than that, and other readers would not find them.
 */
function endsInSectors(target: BlockNode | NewFile): boolean {
  return "format" in target && (target.format === "vpc" || (target.format === "vmdk" && target.clusters !== undefined));
}

/** Whether all of these files can be opened with O_DIRECT: not so on some tmpfs, FUSE and network file systems. */
async function allDirect(filenames: readonly string[]): Promise<boolean> {
  for (const filename of filenames) if (!(await opensDirect(filename))) return false;
  return true;
}

async function opensDirect(filename: string): Promise<boolean> {
  try {
    await using _file = await open(filename, constants.O_RDONLY | constants.O_DIRECT);
    return true;
  } catch {
    return false; // Another reason will come up again, with qemu-img's words.
  }
}
