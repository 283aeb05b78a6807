import { type DiskId, diskId } from "#/domain/ids.ts";
import type { LogicalVolume } from "#/tools/lvm.ts";

/**
 * How a disk is kept in a volume group: as one logical volume `mica-<id>`, whose tags say what LVM does not know.
 *
 *     mica              it is ours; no other volume is ever touched
 *     mica.size=BYTES   the length of the content: volumes are whole numbers of extents
 *     mica.partial      unfinished, or being deleted; nobody reads it
 *
 * Tags and volume change in one transaction of LVM's. A volume smaller than its size tag is unfinished too: a larger clone is made
 * so, in two steps. Behind the content, up to its last extent, a raw disk has zeroes, but for the rest of its last sector, which
 * whoever lets it grow clears.
 */
export interface DiskVolume {
  readonly id: DiskId;
  readonly name: string;
  readonly sizeBytes: number;
  /** Of the logical volume. */
  readonly volumeBytes: number;
  readonly whole: boolean;
  /** Of a thin one: how much of it has blocks, to two decimals of a percent. */
  readonly mappedPercent: number | undefined;
  readonly active: boolean;
  readonly open: boolean;
  readonly suspended: boolean;
}

export const OURS = "mica";
export const PARTIAL = "mica.partial";
const SIZE = "mica.size=";

export function sizeTag(sizeBytes: number): string {
  return `${SIZE}${sizeBytes}`;
}

export function volumeName(id: DiskId): string {
  return `mica-${id}`;
}

const NAME = /^mica-([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})$/;

function parseName(name: string): DiskId | undefined {
  const id = NAME.exec(name)?.[1];
  return id === undefined ? undefined : diskId(id);
}

/** The disk that a logical volume is; undefined for one that is none of ours. */
export function parseVolume(volume: LogicalVolume): DiskVolume | undefined {
  const id = parseName(volume.name);
  if (id === undefined || !volume.tags.includes(OURS)) return undefined;
  const sizeBytes = Number(volume.tags.find((tag) => tag.startsWith(SIZE))?.slice(SIZE.length) ?? NaN);
  return {
    id,
    name: volume.name,
    sizeBytes,
    volumeBytes: volume.sizeBytes,
    whole: !volume.tags.includes(PARTIAL) && sizeBytes <= volume.sizeBytes,
    mappedPercent: volume.dataPercent,
    active: volume.active,
    open: volume.open,
    suspended: volume.suspended,
  };
}

/** `lvm://GROUP/VOLUME`, as `locate()` writes them. */
export function locationOf(group: string, id: DiskId): string {
  return `lvm://${group}/${volumeName(id)}`;
}

/** The disk at a location in the group; undefined for any other. */
export function parseLocation(group: string, location: string): DiskId | undefined {
  const start = `lvm://${group}/`;
  return location.startsWith(start) ? parseName(location.slice(start.length)) : undefined;
}

/** QEMU counts in sectors. */
export const SECTOR_BYTES = 512;

export function roundUp(bytes: number, unitBytes: number): number {
  return Math.ceil(bytes / unitBytes) * unitBytes;
}
