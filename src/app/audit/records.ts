import type { Database } from "#/db/database.ts";
import type { HolderKind } from "#/domain/disk.ts";
import { type Finding, finding } from "./finding.ts";
import { openSubjects } from "./open-subjects.ts";

/** Which statuses must have a disk, and which an operation at work. Others (queued, error) may be without both. */
const STATUSES = {
  image: { whole: ["active", "deactivated"], working: ["saving", "importing"] },
  volume: { whole: ["available", "in-use", "reserved"], working: ["creating", "deleting", "uploading", "extending"] },
  snapshot: { whole: ["available"], working: ["creating", "deleting"] },
} as const;

/** Holds the records of images, volumes, snapshots and cache entries against the disks that they name, both ways. */
export async function auditRecords(db: Database): Promise<Finding[]> {
  const busy = await openSubjects(db);
  const findings: Finding[] = [];
  for (const kind of ["image", "volume", "snapshot"] as const) findings.push(...(await auditKind(db, kind, busy)));
  return [...findings, ...(await auditCache(db, busy)), ...(await auditHolders(db, busy)), ...(await stuckOperations(db))];
}

async function auditKind(db: Database, kind: "image" | "volume" | "snapshot", busy: ReadonlySet<string>): Promise<Finding[]> {
  const { whole, working } = STATUSES[kind];
  const rows = await db
    .selectFrom(kind)
    .leftJoin("disk", "disk.id", `${kind}.disk_id`)
    .select([`${kind}.id as id`, `${kind}.status as status`, "disk.state as diskState", "disk.holder_kind as holderKind", "disk.holder_id as holderId"])
    .execute();
  return rows
    .filter(({ id }) => !busy.has(id))
    .flatMap((row) => {
      if ((working as readonly string[]).includes(row.status)) return [finding("unfinished", `${kind} ${row.id}`, `The ${kind} ${row.id} is ${row.status}, and no operation works on it.`)];
      if (!(whole as readonly string[]).includes(row.status)) return [];
      const held = row.diskState === "ready" && row.holderKind === kind && row.holderId === row.id;
      // An image of size 0 (a volume-backed server's) has properties and no bytes.
      return held || (kind === "image" && row.diskState === null) ? [] : [finding("dangling_record", `${kind} ${row.id}`, `The ${kind} ${row.id} is ${row.status}, and has no whole disk.`)];
    });
}

async function auditCache(db: Database, busy: ReadonlySet<string>): Promise<Finding[]> {
  const rows = await db
    .selectFrom("cache_entry")
    .leftJoin("disk", "disk.id", "cache_entry.disk_id")
    .select(["image_id", "cache_entry.pool as pool", "cache_entry.state as state", "disk.state as diskState", "disk_id"])
    .execute();
  return rows
    .filter((row) => !busy.has(row.image_id) && !busy.has(row.disk_id) && (row.state !== "ready" || row.diskState !== "ready"))
    .map((row) => finding("dangling_record", `cache entry ${row.image_id}`, `The cache entry of image ${row.image_id} in pool "${row.pool}" has no whole disk.`));
}

/** Every disk has exactly one holder: the record it names, or, for an ancestor, at least one disk that reads through it. */
async function auditHolders(db: Database, busy: ReadonlySet<string>): Promise<Finding[]> {
  const rows = await db
    .selectFrom("disk")
    .leftJoin("image", (join) => join.onRef("image.disk_id", "=", "disk.id"))
    .leftJoin("volume", (join) => join.onRef("volume.disk_id", "=", "disk.id"))
    .leftJoin("snapshot", (join) => join.onRef("snapshot.disk_id", "=", "disk.id"))
    .leftJoin("block_device", (join) => join.onRef("block_device.disk_id", "=", "disk.id"))
    .leftJoin("cache_entry", (join) => join.onRef("cache_entry.disk_id", "=", "disk.id"))
    .leftJoin("capture_base", (join) => join.onRef("capture_base.frozen_disk_id", "=", "disk.id"))
    .select(["disk.id as id", "holder_kind", "holder_id", "image.id as image", "volume.id as volume", "snapshot.id as snapshot", "block_device.server_id as server", "cache_entry.image_id as cache", "capture_base.image_id as base"])
    .select((eb) => eb.exists(eb.selectFrom("disk as child").select("child.id").whereRef("child.parent_id", "=", "disk.id")).as("isParent"))
    .execute();
  const isHeld = (row: (typeof rows)[number]) => {
    const holders: Record<HolderKind, boolean> = {
      image: row.image === row.holder_id,
      volume: row.volume === row.holder_id,
      snapshot: row.snapshot === row.holder_id,
      server: row.server === row.holder_id,
      cache: row.cache === row.holder_id,
      base: row.base === row.holder_id,
      ancestor: Boolean(row.isParent),
    };
    return holders[row.holder_kind];
  };
  return rows
    .filter((row) => !busy.has(row.id) && !busy.has(row.holder_id) && !isHeld(row))
    .map((row) => finding("orphan_disk", `disk ${row.id}`, `Disk ${row.id} names ${row.holder_kind} ${row.holder_id} as its holder, which does not have it.`));
}

async function stuckOperations(db: Database): Promise<Finding[]> {
  const rows = await db.selectFrom("operation").select(["id", "saga", "error_message"]).where("state", "=", "stuck").execute();
  return rows.map((row) => finding("stuck_operation", `operation ${row.id}`, `The operation ${row.id} (${row.saga}) cannot be undone: ${row.error_message}`));
}
