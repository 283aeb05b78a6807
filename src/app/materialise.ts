import { FrozenStats } from "#/app/frozen-stats.ts";
import { poolFacts, roomOf } from "#/app/pool-facts.ts";
import type { Config } from "#/config/schema.ts";
import type { ImagesType } from "#/config/servers.ts";
import { findCacheEntry } from "#/db/cache-entries.ts";
import type { Database } from "#/db/database.ts";
import { depthOf, findDisk, getDisk } from "#/db/disks.ts";
import type { ImageForm } from "#/domain/compression.ts";
import type { Disk } from "#/domain/disk.ts";
import { findImage } from "#/db/images.ts";
import { AppError } from "#/domain/errors.ts";
import { type DiskId, diskId, type PoolName, poolName } from "#/domain/ids.ts";
import { formatBytes } from "#/lib/units.ts";
import { type CaptureFacts, knownToSavedMemory, planCapture } from "#/planner/capture.ts";
import type { CacheFacts, SourceFacts, TargetFacts } from "#/planner/facts.ts";
import { planBlank, planMaterialise } from "#/planner/materialise.ts";
import { whyNotMatching } from "#/planner/extra-specs.ts";
import { type Plan, STRATEGIES } from "#/planner/plan.ts";
import { capabilitiesOf, type PoolFacts } from "#/planner/pool-facts.ts";
import { choosePool, type Obstacle, obstacleTo, type VolumeRequest as SchedulingRequest, whyNoRoom } from "#/planner/schedule.ts";
import type { Capabilities } from "#/storage/driver.ts";
import type { Pool } from "#/storage/pool.ts";
import type { Pools } from "#/storage/pools.ts";
import { compressionEngine } from "#/transfer/compress.ts";

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

export interface ServerDiskRequest {
  readonly source: { readonly kind: "blank" } | { readonly kind: "image"; readonly id: string };
  /** Undefined: as large as the image. */
  readonly sizeBytes?: number | undefined;
  readonly imagesType: ImagesType;
  readonly useCowImages: boolean;
}

export interface CaptureRequest extends Pick<CaptureFacts, "guest" | "only" | "requiresQuiesce" | "since" | "remembers"> {
  /** Whose disk it is. */
  readonly subject: { readonly kind: "server" | "volume"; readonly id: string };
  readonly disk: DiskId;
  /** Undefined: a snapshot. */
  readonly form?: ImageForm | undefined;
  /** Of the image of a server that is shelved. */
  readonly mayReadThrough?: boolean | undefined;
  /** As for `planImage`. */
  readonly store?: string | undefined;
  readonly pool?: PoolName | undefined;
}

export interface VolumeImageRequest {
  readonly volumeId: string;
  readonly form: ImageForm;
  readonly store?: string | undefined;
  readonly pool?: PoolName | undefined;
  readonly isSuspended?: boolean;
}

/** The drivers that keep disks of a kind; undefined: all. */
const DRIVERS_OF: Readonly<Record<ImagesType, readonly string[] | undefined>> = {
  default: undefined,
  qcow2: ["file", "nfs"],
  flat: ["file", "nfs"],
  raw: ["file", "nfs"],
  lvm: ["lvm"],
  rbd: ["rbd"],
};

/** Gathers the facts and asks the planner: for each pool that would do, and takes the cheapest plan of all. */
export class Materialise {
  readonly #db: Database;
  readonly #pools: Pools;
  readonly #scheduler: Config["scheduler"];
  readonly #stats = new FrozenStats();

  constructor({ db, pools, config }: { db: Database; pools: Pools; config?: Pick<Config, "scheduler"> }) {
    this.#db = db;
    this.#pools = pools;
    this.#scheduler = config?.scheduler ?? { capacityWeightMultiplier: 1 };
  }

  /** The plan of a volume, and the pool it goes to. `pool_full`, `pool_unavailable` or `bad_request` where no pool would do. */
  async planVolume({ source, sizeBytes, volumeType }: VolumeRequest): Promise<{ plan: Plan; pool: PoolName }> {
    const request = { source, sizeBytes, typeName: volumeType.name, extraSpecs: volumeType.extraSpecs };
    const { fitting, obstacles } = await this.#sift(request);
    const from = source.kind === "blank" ? undefined : await this.#source(source.kind, source.id ?? "");
    const planned = fitting.map(async (facts) => ({ pool: facts, plan: await this.#planVolumeIn(this.#pools.get(facts.name), from, sizeBytes) }));
    const plan = choosePool(await Promise.all(planned), request, this.#scheduler, obstacles);
    return { plan, pool: plan.target.pool };
  }

  /** The plan of another disk for a volume, made of an image, in the pool where the volume is. */
  async planVolumeAnew(volumeId: string, imageId: string): Promise<Plan> {
    const volume = await this.#db.selectFrom("volume").select(["pool", "size_bytes"]).where("id", "=", volumeId).executeTakeFirst();
    if (!volume) throw new AppError("not_found", `There is no volume ${volumeId}.`);
    return this.#planVolumeIn(this.#pools.get(poolName(volume.pool)), await this.#source("image", imageId), volume.size_bytes);
  }

  /** The plan of a local disk of a server. Errors as for volumes. */
  async planServerDisk({ source, sizeBytes, imagesType, useCowImages }: ServerDiskRequest): Promise<Plan> {
    const from = source.kind === "blank" ? undefined : await this.#source(source.kind, source.id);
    const virtualSizeBytes = sizeBytes ?? from?.virtualSizeBytes ?? 0;
    const fitting = await this.#serverPools(imagesType, virtualSizeBytes);
    const standsAlone = imagesType === "flat" || imagesType === "raw" || (imagesType === "default" && !useCowImages);
    const plans = fitting.map(async (pool) => {
      if (!from) return planBlank({ kind: "server", pool: pool.name, virtualSizeBytes });
      const target: TargetFacts = { kind: "server", format: "raw", virtualSizeBytes, ...placeOf(pool), standsAlone, cache: await this.#cache(pool, from.id) };
      return planMaterialise({ source: from, target });
    });
    return cheapest(await Promise.all(plans));
  }

  /** Pools for server disks of that kind, with room, that a guest can write to in place. */
  async #serverPools(imagesType: ImagesType, sizeBytes: number): Promise<Pool[]> {
    const pools = this.#pools.takingNew("servers").filter((pool) => pool.can.addressable === "write" && pool.can.mutable && DRIVERS_OF[imagesType]?.includes(pool.kind) !== false);
    if (pools.length === 0) throw new AppError("pool_unavailable", `No pool with the role servers keeps disks of imagesType ${imagesType}.`);
    const refusals = await Promise.all(
      pools.map(async (pool) => whyNoRoom({ name: pool.name, can: pool.can, limits: pool.limits, room: await roomOf(this.#db, pool) }, sizeBytes)),
    );
    const fitting = pools.filter((_, at) => refusals[at] === undefined);
    if (fitting.length === 0) throw new AppError("pool_full", `No pool has room for a server's disk of ${formatBytes(sizeBytes)}: ${refusals.join("; ")}.`);
    return fitting;
  }

  /** Why the volume type does not allow the pool; undefined where it does. */
  async whyNotType(poolOf: string, extraSpecs: VolumeRequest["volumeType"]["extraSpecs"]): Promise<string | undefined> {
    const facts = await poolFacts(this.#db, this.#pools.get(poolName(poolOf)), Object.keys(extraSpecs));
    return whyNotMatching(extraSpecs, capabilitiesOf(facts));
  }

  /** The plan of an image of a volume. `store`: only into that pool of images, else `not_found`; `pool`: into that one, whatever its roles. `isSuspended`: the guest that has it. */
  async planImage({ volumeId, form, store, pool, isSuspended = false }: VolumeImageRequest): Promise<Plan> {
    const volume = { ...(await this.#source("volume", volumeId)), mayBeWritten: await this.#isInUse(volumeId) };
    const source = isSuspended ? knownToSavedMemory(volume) : volume;
    const pools = pool ? [this.#pools.get(pool)] : this.#storesFor(store);
    const target = { kind: "image", virtualSizeBytes: source.virtualSizeBytes, ...(await contentOf(form)) } as const;
    return cheapest(pools.map((pool) => planMaterialise({ source, target: { ...target, ...placeOf(pool), cache: {} } })));
  }

  /** The plans of an image, or of a snapshot in the disk's own pool, of a disk of a server; the best first. */
  async planCapture({ disk, subject, form, store, pool, mayReadThrough, ...how }: CaptureRequest): Promise<Plan[]> {
    const source = { ...(await this.#sourceFacts(subject.kind, subject.id, await getDisk(this.#db, disk))), live: true };
    const { virtualSizeBytes } = source;
    if (!form) {
      const target = { kind: "snapshot", format: "raw", virtualSizeBytes, ...placeOf(this.#pools.get(source.pool)), cache: {} } as const;
      return planCapture({ ...how, source, target });
    }
    const target = { kind: "image", virtualSizeBytes, mayReadThrough, ...(await contentOf(form)) } as const;
    const stores = pool ? [this.#pools.get(pool)] : this.#storesFor(store);
    const plans = stores.map((one) => planCapture({ ...how, source, target: { ...target, ...placeOf(one), cache: {} } }));
    return plans.reduce((best, other) => (costOf(other[0]) < costOf(best[0]) ? other : best));
  }

  /** Pools for new images; others fill those that are read-only. */
  #storesFor(store: string | undefined): Pool[] {
    const pools = this.#pools.takingNew("images").filter(({ can }) => !can.readOnly);
    if (pools.length === 0) throw new AppError("pool_unavailable", "No pool takes new images: those with the role images are read-only.");
    const chosen = pools.filter(({ name }) => store === undefined || name === store);
    if (chosen.length === 0) throw new AppError("not_found", `Store ${store} not enabled on this glance.`);
    return chosen;
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
    if (disk.format === "opaque" && !disk.packed) throw new AppError("bad_request", `The ${kind} ${id} is in a container: a disk can be made only of container format bare or compressed.`);
    return this.#sourceFacts(kind, id, disk);
  }

  /** An upload has any other volume to itself: its status says so. */
  async #isInUse(volumeId: string): Promise<boolean> {
    return (await this.#db.selectFrom("volume").select("status").where("id", "=", volumeId).executeTakeFirst())?.status === "in-use";
  }

  async #sourceFacts(kind: SourceFacts["kind"], id: string, disk: Disk): Promise<SourceFacts> {
    const pool = this.#pools.get(disk.pool);
    const stored = await this.#stats.stat(pool, disk);
    if (!stored) throw new AppError("disk_not_found", `The bytes of ${kind} ${id} (disk ${disk.id}) are not in pool "${disk.pool}".`);
    return {
      kind,
      id,
      pool: disk.pool,
      can: stored.onlyInOrder === undefined ? pool.can : notAddressable(pool.can, stored.onlyInOrder),
      format: disk.format,
      packed: disk.packed,
      virtualSizeBytes: disk.virtualSizeBytes,
      ownBytes: stored.allocatedBytes,
      ...(await this.#chain(disk, stored.allocatedBytes)),
      live: kind === "volume",
      mayBeWritten: kind === "volume",
    };
  }

  /** What reading the disk costs at most: its own bytes, and those of all that it reads through. */
  async #chain(disk: Disk, ownBytes: number): Promise<Pick<SourceFacts, "allocatedBytes" | "depth">> {
    let allocatedBytes = ownBytes;
    let depth = 0;
    for (let parent = disk.parent; parent; depth++) {
      const ancestor = await findDisk(this.#db, parent);
      const stored = ancestor && (await this.#stats.stat(this.#pools.get(ancestor.pool), ancestor));
      allocatedBytes += stored?.allocatedBytes ?? 0;
      parent = ancestor?.parent;
    }
    return { allocatedBytes: Math.min(allocatedBytes, Math.max(disk.virtualSizeBytes, ownBytes)), depth };
  }

  async #cache(pool: Pool, imageId: string): Promise<CacheFacts> {
    if (!pool.roles.includes("cache")) return { closed: `pool "${pool.name}" has no cache: its roles are ${pool.roles.join(", ")}` };
    if (!(await knowsItsSize(this.#db, imageId))) return { closed: "how large the disk in the compressed image is, is known only once it was read" };
    const entry = await findCacheEntry(this.#db, imageId, pool.name);
    const disk = entry?.state === "ready" ? await findDisk(this.#db, diskId(entry.disk_id)) : undefined;
    return disk?.state === "ready" ? { entry: { depth: await depthOf(this.#db, disk.id) } } : {};
  }

  /** `pool_full` unless the pool may promise so many bytes more. */
  async refuseWithoutRoom(poolOf: string, moreBytes: number): Promise<void> {
    const pool = this.#pools.get(poolName(poolOf));
    const refusal = whyNoRoom({ name: pool.name, can: pool.can, limits: pool.limits, room: await roomOf(this.#db, pool) }, moreBytes);
    if (refusal !== undefined) throw new AppError("pool_full", `There is no room for ${formatBytes(moreBytes)} more: ${refusal}.`);
  }

  /** Pools with the role volumes that can take the volume, in the operator's order, and what is against each other one. */
  async #sift(request: SchedulingRequest): Promise<{ fitting: PoolFacts[]; obstacles: Obstacle[] }> {
    const all = await Promise.all(this.#pools.withRole("volumes").map((pool) => poolFacts(this.#db, pool, Object.keys(request.extraSpecs))));
    const sifted = all.map((pool) => ({ pool, obstacle: obstacleTo(pool, request) }));
    const fitting = sifted.filter(({ obstacle }) => !obstacle).map(({ pool }) => pool);
    const obstacles = sifted.flatMap(({ obstacle }) => obstacle ?? []);
    if (fitting.length === 0) throw noPool(request, obstacles);
    return { fitting, obstacles };
  }
}

/** What is against pools that the type allows says more than that the type excludes others. */
function noPool({ typeName, sizeBytes }: SchedulingRequest, obstacles: readonly Obstacle[]): AppError {
  const allowed = obstacles.filter(({ kind }) => kind !== "type");
  const reasons = (allowed.length > 0 ? allowed : obstacles).map(({ pool, kind, because }) => (kind === "type" || kind === "function" ? `pool "${pool}": ${because}` : because));
  const because = reasons.join("; ");
  if (obstacles.length === 0) return new AppError("bad_request", "No pool is configured with the role volumes.");
  if (allowed.length === 0) return new AppError("bad_request", `No pool fits volume type "${typeName}": ${because}.`);
  if (allowed.some(({ kind }) => kind === "room")) return new AppError("pool_full", `No pool has room for a volume of ${formatBytes(sizeBytes)}: ${because}.`);
  if (allowed.some(({ kind }) => kind === "closed")) return new AppError("pool_unavailable", `No pool takes a volume of type "${typeName}" now: ${because}.`);
  return new AppError("bad_request", `No pool takes the volume: ${because}.`);
}

/** A cached disk has the size of the image's; of a compressed stream that its user made, nobody says it. */
async function knowsItsSize(db: Database, imageId: string): Promise<boolean> {
  const image = await findImage(db, imageId);
  return image?.container_format !== "compressed" || image.virtual_size_bytes !== null;
}

/** What the pool can with one of its disks that is read from the first byte to the last only. */
function notAddressable(can: Capabilities, because: string): Capabilities {
  return { ...can, addressable: "none", why: { ...can.why, addressable: because } };
}

function placeOf({ name, can, limits }: Pool): Pick<TargetFacts, "pool" | "can" | "cloneDepthMax" | "flattenFromSnapshot"> {
  return { pool: name, can, cloneDepthMax: limits.cloneDepthMax, flattenFromSnapshot: limits.flattenFromSnapshot };
}

/** What will lie in the pool: the disk itself, or a compressed stream with the disk in it. */
async function contentOf({ diskFormat, clusters, stream }: ImageForm): Promise<Pick<TargetFacts, "format" | "clusters" | "stream">> {
  if (!stream) return { format: diskFormat, clusters };
  const { name: engine } = await compressionEngine(stream);
  return { format: "opaque", stream: { compression: stream, packed: diskFormat, engine } };
}

/** As its place among the strategies. */
function costOf(plan: Plan | undefined): number {
  return !plan || plan.strategy === "blank" ? -1 : STRATEGIES.indexOf(plan.strategy);
}

/** The cheapest strategy wins; among equals the pool that the operator named first. */
function cheapest(plans: readonly Plan[]): Plan {
  const [first, ...others] = plans;
  if (!first) throw new Error("Broken invariant: there is at least one pool");
  return others.reduce((best, plan) => (costOf(plan) < costOf(best) ? plan : best), first);
}
