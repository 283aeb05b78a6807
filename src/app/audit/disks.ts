import type { Database } from "#/db/database.ts";
import type { DiskTable } from "#/db/tables.ts";
import type { DiskState } from "#/domain/disk.ts";
import { AppError } from "#/domain/errors.ts";
import { diskId } from "#/domain/ids.ts";
import type { Pool } from "#/storage/pool.ts";
import type { Pools } from "#/storage/pools.ts";
import type { StoredDisk } from "#/storage/driver.ts";
import { type Finding, finding } from "./finding.ts";
import { openSubjects } from "./open-subjects.ts";

/** Holds the bytes in the pools against the disks on record, both ways, and the chains between disks. */
export async function auditDisks(db: Database, pools: Pools): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const pool of pools) {
    try {
      findings.push(...(await auditPool(db, pool)));
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
      findings.push(finding("pool_unavailable", `pool ${pool.name}`, error.message));
    }
  }
  return [...findings, ...(await unknownPools(db, pools))];
}

async function auditPool(db: Database, pool: Pool): Promise<Finding[]> {
  // Bytes first: a disk that comes after this look has its record before its bytes.
  const stored = new Map<string, StoredDisk>();
  for await (const disk of pool.list()) stored.set(disk.id, disk);
  const rows = await recordedIn(db, pool);
  const busy = await openSubjects(db);
  const recorded = new Set(rows.map(({ id }) => id));
  const registered = new Set(rows.map(({ location }) => location));
  const orphans = [...stored.values()].filter(({ id }) => !recorded.has(id) && !registered.has(pool.locate({ id }))).map((disk) => orphanBytes(pool, disk));
  for (const row of rows) await lookAtLocation(pool, row, stored);
  return [...orphans, ...rows.flatMap((row) => auditDisk(row, { stored: stored.get(row.id), busy }))];
}

/** Registered bytes lie under no id of ours: no list shows them. Where their server is away they count as missing until it is back. */
async function lookAtLocation(pool: Pool, { id, location }: RecordedDisk, stored: Map<string, StoredDisk>): Promise<void> {
  if (location === null) return;
  try {
    const found = await pool.stat(diskId(id), location);
    if (found) stored.set(id, found);
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
  }
}

/** The disks on record, each with the state of its parent, which may lie in another pool. */
async function recordedIn(db: Database, pool: Pool) {
  return db
    .selectFrom("disk")
    .leftJoin("disk as parent", "parent.id", "disk.parent_id")
    .selectAll("disk")
    .select(["parent.state as parent_state", "parent.location as parent_location"])
    .where("disk.pool", "=", pool.name)
    .execute();
}

type RecordedDisk = DiskTable & { readonly parent_state: DiskState | null; readonly parent_location: string | null };

interface Known {
  readonly stored: StoredDisk | undefined;
  readonly busy: ReadonlySet<string>;
}

function auditDisk(row: RecordedDisk, { stored, busy }: Known): Finding[] {
  const subject = `disk ${row.id}`;
  const isBusy = [row.id, row.holder_id].some((id) => busy.has(id));
  if (isBusy) return [];
  if (row.state !== "ready") return [finding("unfinished", subject, `Disk ${row.id} of ${row.holder_kind} ${row.holder_id} is ${row.state}, and no operation works on it.`)];
  if (!stored || stored.partial) return [finding("missing_bytes", subject, `Disk ${row.id} of ${row.holder_kind} ${row.holder_id} has no bytes in pool "${row.pool}"${row.location === null ? "" : `, at ${withoutQuery(row.location)}`}.`)];
  if (row.parent_id !== null && row.parent_state !== "ready") {
    return [finding("broken_chain", subject, `Disk ${row.id} reads through disk ${row.parent_id}, which is not there.`)];
  }
  // Registered bytes have a name of their own in the pool, which says nothing about our ids.
  if (row.parent_location === null && stored.parent !== (row.parent_id ?? undefined)) {
    return [finding("broken_chain", subject, `Disk ${row.id} reads through ${stored.parent ?? "no disk"} in the pool, and through ${row.parent_id ?? "none"} on record.`)];
  }
  return [];
}

/** A query may be a signature. */
function withoutQuery(url: string): string {
  return url.split("?", 1)[0] as string;
}

function orphanBytes(pool: Pool, { id, partial, allocatedBytes }: StoredDisk): Finding {
  const what = partial ? "Partial bytes" : "Bytes";
  return finding("orphan_bytes", `disk ${id}`, `${what} of disk ${id} (${allocatedBytes} bytes) are in pool "${pool.name}", and no record has them.`);
}

async function unknownPools(db: Database, pools: Pools): Promise<Finding[]> {
  const used = await db.selectFrom("disk").select("pool").distinct().execute();
  return used
    .filter(({ pool }) => !pools.find(pool))
    .map(({ pool }) => finding("pool_unavailable", `pool ${pool}`, `Disks are on record in pool "${pool}", which is not configured.`));
}
