import { join } from "node:path";
import type { BlockNode } from "#/domain/block-node.ts";
import type { BackupRequest } from "#/vm/backup.ts";
import { child, element, parseXml, textElement } from "#/vm/libvirt/xml.ts";

/** A backup as libvirt shows it, as far as it is one of ours. */
export interface OpenBackup {
  readonly name: string;
  readonly targets: readonly string[];
  readonly socketPath: string;
}

/**
 * A `<domainbackup>` (formatbackup.html). It has no name of its own: that stands in the names of its exports. Disks that are not listed are left out.
 */
export function backupXml({ name, folder, disks }: BackupRequest): string {
  const listed = disks.map(({ target, since }) => {
    const mode = since === undefined ? { backupmode: "full" } : { backupmode: "incremental", incremental: since };
    return element("disk", { name: target, backup: "yes", type: "file", ...mode, exportname: exportName(name, target), exportbitmap: since && bitmapName(target) }, [
      element("scratch", { file: scratchPath(folder, target) }),
    ]);
  });
  return element("domainbackup", { mode: "pull" }, [element("server", { transport: "unix", socket: join(folder, SOCKET) }), element("disks", {}, listed)]);
}

/** A `<domaincheckpoint>` (formatcheckpoint.html) of some disks. */
export function checkpointXml(name: string, targets: readonly string[]): string {
  return element("domaincheckpoint", {}, [textElement("name", name), element("disks", {}, targets.map((target) => element("disk", { name: target, checkpoint: "bitmap" })))]);
}

/** The disks that a checkpoint was made for. */
export function targetsOfCheckpoint(xml: string): string[] {
  const disks = child(parseXml(xml), "disks")?.children ?? [];
  return disks.filter(({ attributes }) => attributes["checkpoint"] === "bitmap").map(({ attributes }) => attributes["name"] ?? "");
}

/** One that somebody else began has an empty name. */
export function readBackup(xml: string): OpenBackup {
  const backup = parseXml(xml);
  const disks = (child(backup, "disks")?.children ?? []).filter(({ attributes }) => attributes["backup"] === "yes");
  const targets = disks.map(({ attributes }) => attributes["name"] ?? "");
  const [name = "", ...rest] = (disks[0]?.attributes["exportname"] ?? "").split("/");
  const isOurs = rest.length === 1 && rest[0] === targets[0];
  return { name: isOurs ? name : "", targets, socketPath: child(backup, "server")?.attributes["socket"] ?? "" };
}

/** A view as QEMU's tools read it; with its bitmap, dirty blocks are holes to them. */
export function viewNode({ name, socketPath }: OpenBackup, target: string, which: "content" | "bitmap" = "content"): BlockNode {
  const bitmap = which === "bitmap" ? { "x-dirty-bitmap": `qemu:dirty-bitmap:${bitmapName(target)}` } : {};
  return { driver: "raw", file: { driver: "nbd", server: { type: "unix", path: socketPath }, export: exportName(name, target), ...bitmap } };
}

/** What the guest overwrites goes here: a qcow2 file. */
export function scratchPath(folder: string, target: string): string {
  return join(folder, `${target}.scratch`);
}

/** Short, since the address of a unix socket is. */
const SOCKET = "nbd";

function exportName(name: string, target: string): string {
  return `${name}/${target}`;
}

function bitmapName(target: string): string {
  return `backup-${target}`;
}
