import type { DiskFormat } from "#/domain/disk.ts";
import { AppError } from "#/domain/errors.ts";

/**
 * A block node of QEMU's block layer (`qapi/block-core.json` BlockdevOptions, QEMU 7.2), as it goes into a `json:`
 * filename or `blockdev-add`. The format is always named.
 */
export type BlockNode =
  | { readonly driver: "file"; readonly filename: string }
  | { readonly driver: "host_device"; readonly filename: string }
  /** What another process shows: QEMU needs no word of where the bytes really are. */
  | NbdNode
  | RbdNode
  | { readonly driver: "raw"; readonly file: BlockNode; readonly size?: number }
  | { readonly driver: "qcow2" | "vmdk" | "vpc" | "vhdx" | "vdi" | "luks"; readonly file: BlockNode; readonly backing?: BlockNode | null };

export interface NbdNode {
  readonly driver: "nbd";
  /** A process of this machine, which needs no network; or of another host, over TLS. */
  readonly server: { readonly type: "unix"; readonly path: string } | { readonly type: "inet"; readonly host: string; readonly port: string };
  readonly export: string;
  /** The id of the certificates that QEMU shows and asks for: see `certificateFolder()`. */
  readonly "tls-creds"?: string;
  /** After a lost connection, requests wait for so long until the server is back; only then do they fail. */
  readonly "reconnect-delay"?: number;
  /** Has the node tell a bitmap of its server's, as `qemu:dirty-bitmap:…`, instead of where its data is: what is dirty is shown as a hole. */
  readonly "x-dirty-bitmap"?: string;
}

/** How long a server of blocks on another host may be away, in seconds, before those who read and write there get an error. */
export const NBD_RECONNECT_SECONDS = 30;

interface RemoteExport {
  /** As the certificate of the server names it: a host name or an address. */
  readonly host: string;
  readonly port: number;
  readonly export: string;
  /** Absolute; ca-cert.pem, client-cert.pem and client-key.pem lie in it, as QEMU calls them. */
  readonly tlsDir: string;
}

/** An export of another host's, to which each side shows its certificate. Raw: the server knows the format, and shows what a guest sees. */
export function remoteNode({ host, port, export: name, tlsDir }: RemoteExport): BlockNode {
  const server = { type: "inet", host, port: String(port) } as const;
  const id = `${CERTIFICATES_PREFIX}${Array.from(new TextEncoder().encode(tlsDir), (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
  return { driver: "raw", file: { driver: "nbd", server, export: name, "tls-creds": id, "reconnect-delay": NBD_RECONNECT_SECONDS } };
}

/** The folder of the certificates that the node needs. QEMU's nodes name an object by its id (letters, digits, - . _): so the id is the path, in hexadecimal. */
export function certificateFolder(node: NbdNode): string | undefined {
  const id = node["tls-creds"];
  if (id === undefined) return undefined;
  const bytes = id.slice(CERTIFICATES_PREFIX.length).match(/../g) ?? [];
  return new TextDecoder().decode(Uint8Array.from(bytes, (pair) => Number.parseInt(pair, 16)));
}

const CERTIFICATES_PREFIX = "tls-";

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
