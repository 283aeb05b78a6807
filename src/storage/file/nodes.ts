import type { BlockNode } from "#/domain/block-node.ts";
import type { DiskFormat } from "#/domain/disk.ts";
import { AppError } from "#/domain/errors.ts";

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
export function flatNode(path: string, format: DiskFormat): BlockNode {
  if (format === "opaque") throw new AppError("not_supported", "its content is opaque: no tool may open it");
  const driver = DRIVERS[format];
  const file: BlockNode = { driver: "file", filename: path };
  return driver === "qcow2" ? { driver, file, backing: null } : { driver, file };
}

/** An overlay of ours, on the node of the disk that it reads through. */
export function overlayNode(path: string, backing: BlockNode): BlockNode {
  return { driver: "qcow2", file: { driver: "file", filename: path }, backing };
}
