import { findCacheEntry } from "#/db/cache-entries.ts";
import type { Database } from "#/db/database.ts";
import { depthOf, findDisk, getDisk, poolUsage } from "#/db/disks.ts";
import type { Disk, DiskFormat } from "#/domain/disk.ts";
import { AppError } from "#/domain/errors.ts";
import { diskId, type PoolName, poolName } from "#/domain/ids.ts";
import { formatBytes } from "#/lib/units.ts";
import { type CacheFacts, planBlank, planMaterialise, type SourceFacts, type TargetFacts } from "#/planner/materialise.ts";
import { type Plan, STRATEGIES } from "#/planner/plan.ts";
import type { Pool } from "#/storage/pool.ts";
import type { Pools } from "#/storage/pools.ts";

export interface VolumeSource {
  readonly kind: "blank" | "image" | "volume" | "snapshot";
  readonly id?: string | undefined;
}

export interface VolumeRequest {
  readonly source: VolumeSource;
  readonly sizeBytes: number;
  /** Extra specs narrow the choice: `volume_backend_name` names the pool, as in Cinder. */
  readonly volumeType: { readonly name: string; readonly extraSpecs: Readonly<Record<string, string>> };
}

/** Gathers the facts and asks the planner: for each pool that would do, and takes the cheapest plan of all. */
export class Materialise {
  readonly #db: Database;
  readonly #pools: Pools;

  constructor({ db, pools }: { db: Database; pools: Pools }) {
    this.#db = db;
    this.#pools = pools;
  }

  /** The plan of a volume, and the pool it goes to. `pool_full` or `bad_request` where no pool would do. */
  async planVolume({ source, sizeBytes, volumeType }: VolumeRequest): Promise<{ plan: Plan; pool: PoolName }> {
    const pools = await this.#poolsFor(volumeType, sizeBytes);
    const from = source.kind === "blank" ? undefined : await this.#source(source.kind, source.id ?? "");
    const plans = await Promise.all(pools.map((pool) => this.#planVolumeIn(pool, from, sizeBytes)));
    const plan = cheapest(plans);
    return { plan, pool: plan.target.pool };
  }

  /** The plan of an image of a volume, in the format `diskFormat`. */
  async planImage({ volumeId, diskFormat }: { volumeId: string; diskFormat: DiskFormat }): Promise<Plan> {
    const source = await this.#source("volume", volumeId);
    const pools = this.#pools.withRole("images");
    if (pools.length === 0) throw new AppError("bad_request", "No pool is configured with the role images.");
    const target = { kind: "image", format: diskFormat, virtualSizeBytes: source.virtualSizeBytes } as const;
    return cheapest(pools.map((pool) => planMaterialise({ source, target: { ...target, ...placeOf(pool), cache: {} } })));
  }

  async #planVolumeIn(pool: Pool, source: SourceFacts | undefined, sizeBytes: number): Promise<Plan> {
    if (!source) return planBlank({ pool: pool.name, virtualSizeBytes: sizeBytes });
    const cache = source.kind === "image" ? await this.#cache(pool, source.id) : {};
    const target: TargetFacts = { kind: "volume", format: "raw", virtualSizeBytes: sizeBytes, ...placeOf(pool), cache };
    return planMaterialise({ source, target });
  }

  async #source(kind: "image" | "volume" | "snapshot", id: string): Promise<SourceFacts> {
    const row = await this.#db.selectFrom(kind).select("disk_id").where("id", "=", id).executeTakeFirst();
    if (!row) throw new AppError("not_found", `There is no ${kind} ${id}.`);
    if (!row.disk_id) throw new AppError("bad_request", `The ${kind} ${id} has no data.`);
    const disk = await getDisk(this.#db, diskId(row.disk_id));
    if (disk.format === "opaque") throw new AppError("bad_request", `The ${kind} ${id} is in a container: a disk can be made only of container format bare.`);
    return this.#sourceFacts(kind, id, disk);
  }

  async #sourceFacts(kind: SourceFacts["kind"], id: string, disk: Disk): Promise<SourceFacts> {
    const pool = this.#pools.get(disk.pool);
    const stored = await pool.stat(disk.id);
    if (!stored) throw new AppError("disk_not_found", `The bytes of ${kind} ${id} (disk ${disk.id}) are not in pool "${disk.pool}".`);
    return {
      kind,
      id,
      pool: disk.pool,
      can: pool.can,
      format: disk.format,
      virtualSizeBytes: disk.virtualSizeBytes,
      ...(await this.#chain(pool, disk, stored.allocatedBytes)),
      live: kind === "volume",
    };
  }

  /** What reading the disk costs at most: its own bytes, and those of all that it reads through. */
  async #chain(pool: Pool, disk: Disk, ownBytes: number): Promise<Pick<SourceFacts, "allocatedBytes" | "depth">> {
    let allocatedBytes = ownBytes;
    let depth = 0;
    for (let parent = disk.parent; parent; depth++) {
      allocatedBytes += (await pool.stat(parent))?.allocatedBytes ?? 0;
      parent = (await findDisk(this.#db, parent))?.parent;
    }
    return { allocatedBytes: Math.min(allocatedBytes, Math.max(disk.virtualSizeBytes, ownBytes)), depth };
  }

  async #cache(pool: Pool, imageId: string): Promise<CacheFacts> {
    if (!pool.roles.includes("cache")) return { closed: `pool "${pool.name}" has no cache: its roles are ${pool.roles.join(", ")}` };
    const entry = await findCacheEntry(this.#db, imageId, pool.name);
    const disk = entry?.state === "ready" ? await findDisk(this.#db, diskId(entry.disk_id)) : undefined;
    return disk?.state === "ready" ? { entry: { depth: await depthOf(this.#db, disk.id) } } : {};
  }

  /** `pool_full` unless the pool may promise so many bytes more. */
  async refuseWithoutRoom(poolOf: string, moreBytes: number): Promise<void> {
    const refusal = await this.#whyNoRoom(this.#pools.get(poolName(poolOf)), moreBytes);
    if (refusal !== undefined) throw new AppError("pool_full", `There is no room for ${formatBytes(moreBytes)} more: ${refusal}.`);
  }

  /** Pools with the role volumes that the type allows and that have room, in the operator's order. */
  async #poolsFor({ name, extraSpecs }: VolumeRequest["volumeType"], sizeBytes: number): Promise<Pool[]> {
    const wanted = extraSpecs.volume_backend_name;
    const allowed = this.#pools.withRole("volumes").filter((pool) => wanted === undefined || pool.name === wanted);
    if (allowed.length === 0) {
      const because = wanted === undefined ? "no pool is configured with the role volumes" : `its volume_backend_name is "${wanted}", and no pool for volumes has that name`;
      throw new AppError("bad_request", `No pool fits volume type "${name}": ${because}.`);
    }
    const refusals = await Promise.all(allowed.map((pool) => this.#whyNoRoom(pool, sizeBytes)));
    const fitting = allowed.filter((_, index) => refusals[index] === undefined);
    if (fitting.length === 0) throw new AppError("pool_full", `No pool has room for a volume of ${formatBytes(sizeBytes)}: ${refusals.join("; ")}.`);
    return fitting;
  }

  /**
   * Cinder's rule for thin pools (cinder/scheduler/filters/capacity_filter.py): what is promised in all may be
   * `overSubscriptionRatioMax` times the pool, and this one volume as many times what is free.
   */
  async #whyNoRoom(pool: Pool, sizeBytes: number): Promise<string | undefined> {
    try {
      const { totalBytes, freeBytes } = await pool.capacity();
      const { provisionedBytes, reservedBytes } = await poolUsage(this.#db, pool.name);
      const { overSubscriptionRatioMax: ratio, reservedPercentage } = pool.limits;
      const freeReally = freeBytes - reservedBytes - (totalBytes * reservedPercentage) / 100;
      const promised = formatBytes(provisionedBytes + sizeBytes);
      if (provisionedBytes + sizeBytes > totalBytes * ratio) return `pool "${pool.name}" would have promised ${promised}, and may promise ${ratio} times its ${formatBytes(totalBytes)}`;
      if (sizeBytes > freeReally * ratio) return `pool "${pool.name}" has ${formatBytes(Math.max(0, freeReally))} free, and may promise ${ratio} times that`;
      return undefined;
    } catch (error) {
      if (error instanceof AppError) return error.message;
      throw error;
    }
  }
}

function placeOf(pool: Pool): Pick<TargetFacts, "pool" | "can" | "cloneDepthMax"> {
  return { pool: pool.name, can: pool.can, cloneDepthMax: pool.limits.cloneDepthMax };
}

/** The cheapest strategy wins; among equals the pool that the operator named first. */
function cheapest(plans: readonly Plan[]): Plan {
  const cost = ({ strategy }: Plan) => (strategy === "blank" ? -1 : STRATEGIES.indexOf(strategy));
  const [first, ...others] = plans;
  if (!first) throw new Error("Broken invariant: there is at least one pool");
  return others.reduce((best, plan) => (cost(plan) < cost(best) ? plan : best), first);
}
