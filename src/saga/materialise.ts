import type { Database } from "#/db/database.ts";
import { findDisk, getDisk, insertDisk, removeDisk, setDiskReady } from "#/db/disks.ts";
import type { ClusterCompression, Compression } from "#/domain/compression.ts";
import type { Disk, DiskFormat, Holder } from "#/domain/disk.ts";
import { AppError } from "#/domain/errors.ts";
import type { FileSystem } from "#/domain/file-system.ts";
import { type DiskId, diskId, type PoolName } from "#/domain/ids.ts";
import type { Plan, Strategy } from "#/planner/plan.ts";
import type { Actual, SagaContext, SagaServices } from "#/saga/context.ts";
import type { StepScope } from "#/saga/engine/saga.ts";
import { makeByChanges, sizeOf } from "#/saga/copy-changes.ts";
import { beginDropUnread } from "#/saga/drop-disk.ts";
import { deleteUnread, leaveAncestors } from "#/saga/release-disk.ts";
import { firstReservation, ReservationAhead } from "#/saga/reservation-ahead.ts";
import { reserveSpace } from "#/saga/reserve-space.ts";
import type { ByteRange, WorkOptions } from "#/storage/driver.ts";
import { convert, stageThenConvert } from "#/transfer/convert.ts";
import { measure } from "#/transfer/measure.ts";
import { fillWithFileSystem } from "#/transfer/fill-blank.ts";
import type { Source } from "#/transfer/source.ts";

/** A disk to be made, and the disk whose content it gets. */
export interface Materialisation {
  readonly strategy: Exclude<Strategy, "adopt"> | "blank";
  /** Undefined only for `blank`. */
  readonly source: DiskId | undefined;
  /** What is read instead of the source's own bytes, which may change meanwhile. */
  readonly view?: Source | undefined;
  readonly target: NewDiskRecord;
  /** For `copy_changes`: where what is read differs from the source, which the target is then a clone of. */
  readonly changes?: readonly ByteRange[] | undefined;
  /** For conversions: what is compressed of the target, its clusters or all of it. */
  readonly clusters?: ClusterCompression | undefined;
  readonly compress?: Compression | undefined;
}

export interface NewDiskRecord {
  readonly id: DiskId;
  readonly pool: PoolName;
  readonly format: DiskFormat;
  /** Of a compressed stream: the format of the disk in it. */
  readonly packed?: DiskFormat | undefined;
  readonly virtualSizeBytes: number;
  readonly holder: Holder;
  /** Of a blank disk: what is made in it. */
  readonly fileSystem?: FileSystem | undefined;
}

/**
 * Records the target, with its space reserved, before the first byte is written. While it is being filled the source
 * counts as its parent: whoever deletes the source meanwhile leaves its bytes in place. Repeatable.
 */
export async function recordTarget(services: SagaServices, { strategy, source, view, target, changes }: Materialisation): Promise<void> {
  const recorded = await findDisk(services.db, target.id);
  if (recorded?.state === "ready" || (recorded?.state === "filling" && recorded.parent === source)) return;
  if (recorded) await discardTarget(services, target, { keeps: source }); // An earlier attempt, before a crash, was on another way, or about to go.
  const reservedBytes = await bytesNeeded(services, { strategy, source, view, target, changes });
  await reserveSpace(services, target, reservedBytes, async (trx) => {
    const from = source && (await findDisk(trx, source));
    if (source && from?.state !== "ready") throw new AppError("gone", "The source was deleted before its bytes could be read.");
    await insertDisk(trx, { ...target, parent: source }, { reservedBytes, nowMs: services.clock.nowMs() });
  });
}

/** Makes the bytes of the target. Repeatable: a target that is whole is left as it is. */
export async function fillTarget(context: SagaContext<object>, { strategy, source, view, target, clusters, compress, changes }: Materialisation, scope: StepScope): Promise<Actual> {
  const pool = context.pools.get(target.pool);
  const options = { signal: scope.signal, onProgress: scope.progress };
  const disk = await getDisk(context.db, target.id);
  if (disk.state === "ready") return {};
  const made = { ...target, frozen: target.holder.kind === "image" || target.holder.kind === "cache" };
  if (strategy === "blank") {
    await makeBlank(context, target, options);
    return finish(context, disk, undefined, NOTHING);
  }
  const from = await getDisk(context.db, mustHave(source));
  const reservation = new ReservationAhead(context, target, null);
  const conversion = {
    source: view ?? (await sourceOf(context, from)),
    target: { pool, disk: made },
    clusters,
    compress,
    beforeBytes: (totalBytes: number, unwrittenBytes: number) => reservation.reach(totalBytes, unwrittenBytes),
    bytesPerSecondMax: context.pools.get(from.pool).limits.bandwidthBytesPerSecondMax,
    ...options,
  };
  switch (strategy) {
    case "clone":
    case "clone_cached": {
      const lineage = await pool.clone(seenFrom(context, from, target), made, options);
      return finish(context, disk, lineage.target, NOTHING);
    }
    case "copy_changes": {
      const { parent, moved } = await makeByChanges(context, made, { pool, base: from, source: conversion.source, changes: mustHave(changes), ...options });
      return finish(context, disk, parent, moved);
    }
    case "offload_copy":
      await pool.copy(seenFrom(context, from, target), made, options);
      return finish(context, disk, undefined, await copied(context, target));
    case "stream_convert": {
      const moved = await convert(conversion);
      return finish(context, disk, undefined, { ...moved, bytesThroughUs: moved.bytesRead, bytesTemporary: 0 });
    }
    case "staged_convert": {
      const { dir, sizeBytesMax } = context.limits.staging;
      const staged = await stageThenConvert({ ...conversion, staging: { path: `${dir}/${target.id}`, sizeBytesMax } });
      return finish(context, disk, undefined, { ...staged, bytesThroughUs: staged.bytesRead });
    }
    default:
      return strategy satisfies never;
  }
}

async function makeBlank({ pools, limits }: SagaServices, target: NewDiskRecord, options: WorkOptions): Promise<void> {
  const { fileSystem, id } = target;
  const pool = pools.get(target.pool);
  if (!fileSystem) return pool.create(target, options);
  const staging = { path: `${limits.staging.dir}/${id}`, sizeBytesMax: limits.staging.sizeBytesMax };
  await fillWithFileSystem(pool, target, { ...options, fileSystem, staging });
}

/**
 * Removes whatever there is of the target: partial work, the whole disk, its record and reservation; and what only it read through, but for `keeps`, from which another attempt is made.
 * One that was shown, and that others read through by now, stays as their ancestor. Repeatable.
 */
export async function discardTarget(services: SagaServices, { id }: Pick<NewDiskRecord, "id">, { keeps }: { readonly keeps?: DiskId | undefined } = {}): Promise<void> {
  const parent = (await findDisk(services.db, id))?.parent;
  if (!(await deleteUnread(services, id))) return;
  const forget = (trx: Database) => removeDisk(trx, id);
  await (keeps !== undefined && parent === keeps ? services.db.transaction().execute(forget) : leaveAncestors(services, id, forget));
}

/** The disk that a record holds and that a plan names as its source. */
export async function sourceDisk({ db }: Pick<SagaServices, "db">, { source }: Plan): Promise<DiskId | undefined> {
  if (source.kind === "blank" || source.id === undefined) return undefined;
  if (source.kind === "server") throw new Error("Broken invariant: a server has several disks");
  const row = await db.selectFrom(source.kind).select("disk_id").where("id", "=", source.id).executeTakeFirst();
  if (!row?.disk_id) throw new AppError("gone", `The ${source.kind} ${source.id} was deleted before its bytes could be read.`);
  return diskId(row.disk_id);
}

/** The plan that the operation was begun with. */
export function planOf({ plan }: Pick<SagaContext<object>, "plan">): Plan {
  if (!plan) throw new Error("Broken invariant: the operation has no plan");
  return plan;
}

const NOTHING: Actual = { bytesRead: 0, bytesWritten: 0, bytesThroughUs: 0, bytesTemporary: 0 };

/** The target is whole: it keeps only the parent that it really reads through. */
async function finish(context: SagaContext<object>, disk: Disk, parent: DiskId | undefined, actual: Actual): Promise<Actual> {
  const drops = await context.db.transaction().execute(async (trx) => {
    await setDiskReady(trx, disk.id, { parent });
    return disk.parent && disk.parent !== parent ? beginDropUnread(context, trx, disk.parent) : [];
  });
  for (const drop of drops) void context.runner.run(drop);
  return actual;
}

/** The disk, and those that it reads through: they may lie in other pools. */
export async function sourceOf({ db, pools }: Pick<SagaServices, "db" | "pools">, disk: Disk): Promise<Source> {
  const ancestors: Pick<Source, "pool" | "disk">[] = [];
  for (let parent = disk.parent; parent; ) {
    const ancestor = await getDisk(db, parent);
    ancestors.push({ pool: pools.get(ancestor.pool), disk: ancestor });
    parent = ancestor.parent;
  }
  return { pool: pools.get(disk.pool), disk, ancestors };
}

/** A source in another pool of the same place is found by its location. */
function seenFrom({ pools }: SagaServices, source: Disk, target: NewDiskRecord): Disk {
  return source.pool === target.pool ? source : { ...source, location: pools.get(source.pool).locate(source) };
}

async function bytesNeeded({ db, pools }: SagaServices, { strategy, source, view, target, changes }: Materialisation): Promise<number> {
  if (strategy === "blank" || strategy === "clone" || strategy === "clone_cached" || !source) return 0;
  if (strategy === "copy_changes") return sizeOf(mustHave(changes));
  const from = await getDisk(db, source);
  if (from.packed || target.packed) return firstReservation(null); // How much it comes to shows on the way.
  if (strategy === "offload_copy") return (await pools.get(from.pool).stat(source, from.location))?.allocatedBytes ?? 0;
  return measure({ source: view ?? (await sourceOf({ db, pools }, from)), targetFormat: target.format });
}

async function copied({ pools }: SagaServices, target: NewDiskRecord): Promise<Actual> {
  const bytes = (await pools.get(target.pool).stat(target.id))?.allocatedBytes ?? 0;
  return { bytesRead: bytes, bytesWritten: bytes, bytesThroughUs: 0, bytesTemporary: 0 };
}

function mustHave<Value>(value: Value | undefined): Value {
  if (value === undefined) throw new Error("Broken invariant: only a blank disk has no source, and only a copy of changes has changes");
  return value;
}
