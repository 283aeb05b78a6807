import type { DiskFormat } from "#/domain/disk.ts";
import { AppError } from "#/domain/errors.ts";

/**
 * A block node of QEMU's block layer (`qapi/block-core.json` BlockdevOptions, QEMU 7.2), as it goes into a `json:`
 * filename or `blockdev-add`. The format is always named.
 */
export type BlockNode =
  | { readonly driver: "file"; readonly filename: string }
  | { readonly driver: "host_device"; readonly filename: string }
  /** What another process of this machine shows on a socket: QEMU needs no network, and no word of where the bytes really are. */
  | NbdNode
  | RbdNode
  | { readonly driver: "raw"; readonly file: BlockNode; readonly size?: number }
  | { readonly driver: "qcow2" | "vmdk" | "vpc" | "vhdx" | "vdi" | "luks"; readonly file: BlockNode; readonly backing?: BlockNode | null };

export interface NbdNode {
  readonly driver: "nbd";
  readonly server: { readonly type: "unix"; readonly path: string };
  readonly export: string;
  /** Has the node tell a bitmap of its server's, as `qemu:dirty-bitmap:…`, instead of where its data is: what is dirty is shown as a hole. */
  readonly "x-dirty-bitmap"?: string;
}

/** An image in a Ceph cluster, reached by librbd inside of QEMU over the network. */
export interface RbdNode {
  readonly driver: "rbd";
  readonly pool: string;
  readonly namespace?: string;
  readonly image: string;
  readonly snapshot?: string;
  /** Path of ceph.conf. */
  readonly conf: string;
  /** Without `client.`. */
  readonly user: string;
  /** Ceph's settings beside those of ceph.conf, as JSON of names and values in turn: time limits, and the keyring. QEMU has no other key for them (block/rbd.c). */
  readonly "=keyvalue-pairs": string;
}

export function rbdNode({ settings, ...image }: Omit<RbdNode, "driver" | "=keyvalue-pairs"> & { readonly settings: Readonly<Record<string, string>> }): RbdNode {
  return { driver: "rbd", ...image, "=keyvalue-pairs": JSON.stringify(Object.entries(settings).flat()) };
}

/** The setting of a node, where it has one of that name. */
export function rbdSetting(node: RbdNode, name: string): string | undefined {
  const pairs = JSON.parse(node["=keyvalue-pairs"]) as string[];
  const at = pairs.indexOf(name);
  return at < 0 ? undefined : pairs[at + 1];
}

/** QEMU's name of each format; `opaque` has none, since no tool may look into it. */
const DRIVERS = {
  raw: "raw",
  iso: "raw",
  qcow2: "qcow2",
  vmdk: "vmdk",
  vhd: "vpc",
  vhdx: "vhdx",
  vdi: "vdi",
  luks: "luks",
} as const satisfies Record<Exclude<DiskFormat, "opaque">, BlockNode["driver"]>;

/** A file whose bytes are in the given format, standing alone: a backing file that its header may name is not opened. */
export function fileNode(path: string, format: DiskFormat): BlockNode {
  return formatNode({ driver: "file", filename: path }, format);
}

/** The same for bytes that are reached in another way than as a file. */
export function formatNode(file: BlockNode, format: DiskFormat): BlockNode {
  if (format === "opaque") throw new AppError("not_supported", "its content is opaque: no tool may open it");
  const driver = DRIVERS[format];
  return driver === "qcow2" ? { driver, file, backing: null } : { driver, file };
}

/** An overlay of ours, on the node of the disk that it reads through. */
export function overlayNode(path: string, backing: BlockNode): BlockNode {
  return { driver: "qcow2", file: { driver: "file", filename: path }, backing };
}
