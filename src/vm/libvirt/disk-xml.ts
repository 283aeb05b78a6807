import { createHash } from "node:crypto";
import { type BlockNode, NBD_RECONNECT_SECONDS, type NbdNode, type RbdNode, rbdSetting } from "#/domain/block-node.ts";
import { AppError } from "#/domain/errors.ts";
import type { DiskLimits, GuestDisk } from "#/vm/guest.ts";
import { child, element, textElement, type XmlElement } from "#/vm/libvirt/xml.ts";

/** The `<disk>` of a domain (formatdomain.html, "Hard drives, floppy disks, CDROMs"): every format named, the whole backing chain spelled out, so that nothing is probed. */
export function diskXml(disk: GuestDisk): string {
  const { target, bus, device, node, serial, bootOrder, readOnly, shareable, limits } = disk;
  const { type, source, backing, format } = storageOf(node);
  return element("disk", { type, device }, [
    driverXml(disk, format),
    source,
    backingXml(backing),
    element("target", { dev: target, bus }),
    ioTuneXml(limits),
    readOnly || device === "cdrom" ? element("readonly") : undefined,
    shareable ? element("shareable") : undefined,
    serial === undefined ? undefined : textElement("serial", serial),
    element("alias", { name: `${ALIAS_PREFIX}${target}` }),
    bootOrder === undefined ? undefined : element("boot", { order: bootOrder }),
  ]);
}

/** QEMU's name of the disk, as events tell it. Libvirt takes names of ours that begin like this. */
const ALIAS_PREFIX = "ua-disk-";

/** The target of a disk by its alias; the alias itself where it is none of ours. */
export function diskOfAlias(alias: string): string {
  return alias.startsWith(ALIAS_PREFIX) ? alias.slice(ALIAS_PREFIX.length) : alias;
}

/** What tells one disk's storage from another's, as it stands in an element that libvirt or `diskXml` wrote. */
export function storageKey(disk: XmlElement): string {
  const source = child(disk, "source");
  const { file, dev, protocol, name } = source?.attributes ?? {};
  const at = file ?? dev ?? `${protocol}:${name}`;
  const { socket, name: host, port } = protocol === "nbd" ? (child(source, "host")?.attributes ?? {}) : {};
  const snapshot = child(source, "snapshot")?.attributes["name"];
  return [at, socket, host, port, snapshot].join("|");
}

interface Storage {
  readonly type: "file" | "block" | "network";
  readonly format: "raw" | "qcow2";
  /** The `<source>`. */
  readonly source: string;
  readonly backing?: BlockNode | null | undefined;
}

function storageOf(node: BlockNode): Storage {
  switch (node.driver) {
    case "qcow2":
      return { ...placeOf(node.file), format: "qcow2", backing: node.backing };
    case "raw":
      return { ...placeOf(node.file, node.size), format: "raw" };
    case "file":
    case "host_device":
    case "nbd":
    case "rbd":
      return { ...placeOf(node), format: "raw" };
    default:
      throw new AppError("not_supported", `guests use disks that are raw or qcow2, not ${node.driver}`);
  }
}

/** `sizeBytes`: where the disk is shorter than what it lies in. */
function placeOf(node: BlockNode, sizeBytes?: number): Pick<Storage, "type" | "source"> {
  const slice = sizeBytes === undefined ? undefined : element("slices", {}, [element("slice", { type: "storage", offset: 0, size: sizeBytes })]);
  switch (node.driver) {
    case "file":
      return { type: "file", source: element("source", { file: node.filename }, [slice]) };
    case "host_device":
      return { type: "block", source: element("source", { dev: node.filename }, [slice]) };
    case "nbd":
      return { type: "network", source: nbdSource(node, slice) };
    case "rbd":
      return { type: "network", source: rbdSource(node, slice) };
    default:
      throw new AppError("not_supported", `guests have no disks in ${node.driver} in another format`);
  }
}

/** A request that fails after the time to reconnect stops the guest, by its policy; at once with libvirt 9.0, which does not know that time and leaves it out. Libvirt takes the certificates from the folder that its own configuration names (qemu.conf, nbd_tls_x509_cert_dir). */
function nbdSource({ server, export: name, "tls-creds": certificates }: NbdNode, slice: string | undefined): string {
  const host = server.type === "unix" ? { transport: "unix", socket: server.path } : { name: server.host, port: server.port };
  return element("source", { protocol: "nbd", name, tls: certificates && "yes" }, [element("host", host), element("reconnect", { delay: NBD_RECONNECT_SECONDS }), slice]);
}

function rbdSource(node: RbdNode, slice: string | undefined): string {
  const { pool, namespace, image, snapshot, conf, user } = node;
  if (namespace) throw new AppError("not_supported", "libvirt has no words for RBD namespaces");
  const auth = rbdSetting(node, "keyring") && element("auth", { username: user }, [element("secret", { type: "ceph", uuid: cephSecretId(node) })]);
  const parts = [snapshot ? element("snapshot", { name: snapshot }) : undefined, element("config", { file: conf }), auth, slice];
  return element("source", { protocol: "rbd", name: `${pool}/${image}` }, parts);
}

/** The UUID of the secret in which libvirt keeps the key of the node's Ceph user: the same for all that have the same user and keyring. */
export function cephSecretId(node: RbdNode): string {
  const hash = createHash("sha256").update([node.conf, node.user, rbdSetting(node, "keyring")].join("\0")).digest("hex");
  return hash.replace(/^(.{8})(.{4}).(.{3}).(.{3})(.{12}).*$/, "$1-$2-8$3-8$4-$5");
}

/** An empty one ends the chain: without it, libvirt would look into the file for more. */
function backingXml(node: BlockNode | null | undefined): string {
  if (!node) return element("backingStore");
  const { type, format, source, backing } = storageOf(node);
  return element("backingStore", { type }, [element("format", { type: format }), source, backingXml(backing)]);
}

function driverXml({ device, cache = "none", discard }: GuestDisk, format: string): string {
  // A guest waits while its storage is away, and goes on without loss: an error would make it give up its file system.
  const policy = device === "disk" || device === "lun" ? "stop" : undefined;
  return element("driver", { name: "qemu", type: format, cache, error_policy: policy, rerror_policy: policy, discard: discard ? "unmap" : undefined });
}

const TUNES = {
  totalBytesPerSecond: "total_bytes_sec",
  readBytesPerSecond: "read_bytes_sec",
  writeBytesPerSecond: "write_bytes_sec",
  totalIops: "total_iops_sec",
  readIops: "read_iops_sec",
  writeIops: "write_iops_sec",
} as const satisfies Record<keyof DiskLimits, string>;

function ioTuneXml(limits: DiskLimits = {}): string | undefined {
  const keys = (Object.keys(TUNES) as (keyof DiskLimits)[]).filter((key) => limits[key]);
  if (keys.length === 0) return undefined;
  return element("iotune", {}, keys.map((key) => textElement(TUNES[key], limits[key] ?? 0)));
}

/** The nodes in Ceph that a disk reads, through its whole chain. */
export function rbdNodesOf(node: BlockNode): RbdNode[] {
  if (node.driver === "rbd") return [node];
  const backing = "backing" in node && node.backing ? rbdNodesOf(node.backing) : [];
  return "file" in node ? [...rbdNodesOf(node.file), ...backing] : backing;
}
