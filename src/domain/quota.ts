import { GiB } from "#/lib/units.ts";

/** What a volume of a type takes of its project's quota. Cinder counts each resource twice: in all, and by type. */
export function volumeQuota(sizeBytes: number, volumeType: string): Record<string, number> {
  const gigabytes = Math.ceil(sizeBytes / GiB);
  return { volumes: 1, gigabytes, [`volumes_${volumeType}`]: 1, [`gigabytes_${volumeType}`]: gigabytes };
}

/** A snapshot takes the size of its volume too (Cinder's `no_snapshot_gb_quota` = False). */
export function snapshotQuota(sizeBytes: number, volumeType: string): Record<string, number> {
  const gigabytes = Math.ceil(sizeBytes / GiB);
  return { snapshots: 1, gigabytes, [`snapshots_${volumeType}`]: 1, [`gigabytes_${volumeType}`]: gigabytes };
}

/** The same amounts, given back. */
export function giveBack(amounts: Readonly<Record<string, number>>): Record<string, number> {
  return Object.fromEntries(Object.entries(amounts).map(([resource, amount]) => [resource, -amount]));
}
