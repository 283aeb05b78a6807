import type { BlockNode } from "#/domain/block-node.ts";
import { AppError, asAppError } from "#/domain/errors.ts";
import type { DiskId, PoolName } from "#/domain/ids.ts";
import type {
  ByteRange,
  Capabilities,
  Capacity,
  DedupOptions,
  DiskWriter,
  Fill,
  Lineage,
  NewDisk,
  SharedSpace,
  StorageDriver,
  StoredDisk,
  StoredRef,
  WorkOptions,
} from "#/storage/driver.ts";
import { offered } from "#/storage/wrap/around.ts";
import { PoolMetrics } from "#/storage/pool-metrics.ts";

/** What a pool may be used for. */
export type PoolRole = "images" | "volumes" | "servers" | "cache";

export interface PoolLimits {
  /** All volumes together may promise this many times the pool's size (Cinder's `max_over_subscription_ratio`, default 20). */
  readonly overSubscriptionRatioMax: number;
  /** Part of the pool that is never promised, in percent (Cinder's `reserved_percentage`, default 0). */
  readonly reservedPercentage: number;
  /** A disk that reads through more ancestors than this is flattened in the background (Glance's and Cinder's `rbd_max_clone_depth`, default 5). */
  readonly cloneDepthMax: number;
  /** Volumes from snapshots are made to stand alone in the background (Cinder's `rbd_flatten_volume_from_snapshot`). */
  readonly flattenFromSnapshot?: boolean;
  /** Space and number of cached images; 0 is without a limit (Cinder's `image_volume_cache_max_size_gb`, `_max_count`). */
  readonly cacheSizeBytesMax: number;
  readonly cacheCountMax: number;
  readonly cacheCleaning: CacheCleaning;
  /** For bytes that pass through this machine; 0 is without a limit (Cinder's `volume_copy_bps_limit`). */
  readonly bandwidthBytesPerSecondMax: number;
  /** Images of its volumes stay in it, as clones, and count as volumes (Cinder's `image_upload_use_cinder_backend`, default false). */
  readonly imageUploadUseCinderBackend: boolean;
  /** Those are the internal project's (Cinder's `image_upload_use_internal_tenant`, default false). */
  readonly imageUploadUseInternalTenant: boolean;
  /** Which volumes it takes, and how gladly: see `domain/pool-function.ts`. */
  readonly filterFunction?: string | undefined;
  readonly goodnessFunction?: string | undefined;
}

/** When cached images make way by themselves; see `saga/clean-cache.ts`. */
export interface CacheCleaning {
  /** With less than this part of the pool free, in percent, it begins; with so much free it ends. */
  readonly belowPercentage: number;
  readonly untilPercentage: number;
  /** Images that were used since stay. */
  readonly idleMsMin: number;
  /** Images that nobody used for so long, and that nothing reads through, go also where there is room; 0 is never. */
  readonly unusedMsMax: number;
}

export interface PoolOptions {
  readonly name: PoolName;
  readonly roles: readonly PoolRole[];
  readonly driver: StorageDriver;
  readonly limits: PoolLimits;
  /** Whether the place can be reached; without it, it always can. */
  readonly health?: Health;
  readonly drained?: boolean;
}

export interface Health {
  /** Why the pool is down and since when (ms since 1970); undefined while it is up. */
  readonly down: { readonly reason: string; readonly sinceMs: number } | undefined;
}

/**
 * A configured place for disks: what is the same for every driver. It checks what it is asked, refuses what the driver
 * can't do, counts, and says in each error what it was doing and where.
 */
export class Pool implements StorageDriver {
  readonly name: PoolName;
  readonly roles: readonly PoolRole[];
  readonly limits: PoolLimits;
  readonly metrics = new PoolMetrics();
  /** Takes no new disks; those that it has go on. */
  drained: boolean;
  readonly #driver: StorageDriver;
  readonly #health: Health | undefined;
  /** How many calls are at work on a disk in this process: it isn't deleted under them. */
  readonly #atWork = new Map<DiskId, number>();

  constructor({ name, roles, driver, limits, health, drained = false }: PoolOptions) {
    this.name = name;
    this.roles = roles;
    this.limits = limits;
    this.drained = drained;
    this.#driver = driver;
    this.#health = health;
  }

  get down(): Health["down"] {
    return this.#health?.down;
  }

  /** Why it takes no new disks now, in words; undefined where it does. */
  get closed(): string | undefined {
    if (this.down) return `pool "${this.name}" is down: ${this.down.reason}`;
    return this.drained ? `pool "${this.name}" is drained: it takes no new disks` : undefined;
  }

  get kind(): string {
    return this.#driver.kind;
  }

  get can(): Capabilities {
    return this.#driver.can;
  }

  async capacity(): Promise<Capacity> {
    return this.#run("capacity", "ask for the capacity", () => this.#driver.capacity());
  }

  async *list(): AsyncIterable<StoredDisk> {
    try {
      yield* this.#driver.list();
    } catch (error) {
      throw this.#inContext("list the disks", error);
    }
  }

  async stat(id: DiskId, location?: string): Promise<StoredDisk | undefined> {
    return this.#run("stat", `look up disk ${id}`, () => this.#driver.stat(id, location));
  }

  locate(disk: Pick<StoredRef, "id" | "location">): string {
    return this.#driver.locate(disk);
  }

  async create(target: NewDisk, options?: WorkOptions): Promise<void> {
    checkDisk(target);
    const doing = `create disk ${target.id}`;
    if (!this.can.mutable) throw this.#refusal(doing, "mutable");
    return this.#run("create", doing, () => this.#driver.create(target, options), [target]);
  }

  /** The disk counts as being at work until the writer is finished or aborted. */
  async receive(target: NewDisk, options?: WorkOptions): Promise<DiskWriter> {
    checkDisk(target);
    const doing = `fill disk ${target.id}`;
    const writer = await this.#run("receive", doing, () => this.#driver.receive(target, options));
    const ended = this.#begin([target]);
    return {
      concurrency: writer.concurrency,
      write: async (block, offsetBytes) => {
        await writer.write(block, offsetBytes).catch((error: unknown) => {
          throw this.#inContext(doing, error);
        });
        this.metrics.bytesWritten += block.length;
      },
      finish: (sizeBytes) => this.#run("finish", doing, () => writer.finish(sizeBytes)).finally(ended),
      abort: () => this.#run("abort", `give up disk ${target.id}`, () => writer.abort()).finally(ended),
    };
  }

  async *read(source: StoredRef, range: ByteRange, options?: WorkOptions): AsyncIterable<Uint8Array> {
    checkRange(range);
    try {
      for await (const block of this.#driver.read(source, range, options)) {
        this.metrics.bytesRead += block.length;
        yield block;
      }
    } catch (error) {
      throw this.#inContext(`read disk ${source.id}`, error);
    }
  }

  async clone(source: StoredRef, target: NewDisk, options?: WorkOptions): Promise<Lineage> {
    checkGrowth(source, target);
    const doing = `clone disk ${source.id} as ${target.id}`;
    if (this.can.clone === "none") throw this.#refusal(doing, "clone");
    return this.#run("clone", doing, () => this.#driver.clone(source, target, options), [source, target]);
  }

  async snapshot(source: StoredRef, target: NewDisk, options?: WorkOptions): Promise<Lineage> {
    checkGrowth(source, target);
    const doing = `snapshot disk ${source.id} as ${target.id}`;
    if (!this.can.snapshot) throw this.#refusal(doing, "snapshot");
    return this.#run("snapshot", doing, () => this.#driver.snapshot(source, target, options), [source, target]);
  }

  async copy(source: StoredRef, target: NewDisk, options?: WorkOptions): Promise<void> {
    checkGrowth(source, target);
    const doing = `copy disk ${source.id} as ${target.id}`;
    if (!this.can.offloadCopy) throw this.#refusal(doing, "offloadCopy");
    return this.#run("copy", doing, () => this.#driver.copy(source, target, options), [source, target]);
  }

  async fill(target: NewDisk, fill: Fill, options?: WorkOptions): Promise<void> {
    checkDisk(target);
    const doing = `fill disk ${target.id}`;
    if (this.can.addressable !== "write") throw this.#refusal(doing, "addressable");
    return this.#run("fill", doing, () => this.#driver.fill(target, fill, options), [target]);
  }

  async resize(disk: StoredRef, virtualSizeBytes: number, options?: WorkOptions): Promise<void> {
    checkSize(virtualSizeBytes);
    const doing = `make disk ${disk.id} ${virtualSizeBytes} bytes large`;
    if (!this.can.mutable) throw this.#refusal(doing, "mutable");
    return this.#run("resize", doing, () => this.#driver.resize(disk, virtualSizeBytes, options), [disk]);
  }

  async flatten(disk: StoredRef, options?: WorkOptions): Promise<void> {
    return this.#run("flatten", `flatten disk ${disk.id}`, () => this.#driver.flatten(disk, options), [disk]);
  }

  /** `conflict` while another call of this process works on the disk; reading it is no hindrance. */
  async delete(id: DiskId, options?: WorkOptions): Promise<void> {
    return this.#run("delete", `delete disk ${id}`, async () => {
      if (this.#atWork.has(id)) throw new AppError("conflict", "another call is at work on it");
      await this.#driver.delete(id, options);
    });
  }

  async open(disk: StoredRef, mode: "read" | "write"): Promise<BlockNode> {
    const doing = `open disk ${disk.id}`;
    if (this.can.addressable === "none" || (mode === "write" && this.can.addressable === "read")) throw this.#refusal(doing, "addressable");
    return this.#run("open", doing, () => this.#driver.open(disk, mode));
  }

  async dedup(options?: DedupOptions): Promise<void> {
    const doing = "share what its disks hold alike";
    if (!this.can.dedup) throw this.#refusal(doing, "dedup");
    return this.#run("dedup", doing, async () => offered(this.#driver, "dedup").dedup(options));
  }

  async measureSpace(options?: WorkOptions): Promise<SharedSpace> {
    const doing = "measure the space of its disks";
    if (!this.can.dedup) throw this.#refusal(doing, "dedup");
    return this.#run("measureSpace", doing, async () => offered(this.#driver, "measureSpace").measureSpace(options));
  }

  async *changes(from: StoredRef, to: StoredRef, range: ByteRange, options?: WorkOptions): AsyncIterable<ByteRange> {
    checkRange(range);
    const doing = `tell what of disk ${to.id} has changed since disk ${from.id}`;
    if (!this.can.changes) throw this.#refusal(doing, "changes");
    try {
      yield* offered(this.#driver, "changes").changes(from, to, range, options);
    } catch (error) {
      throw this.#inContext(doing, error);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#driver[Symbol.asyncDispose]();
  }

  async #run<Result>(name: string, doing: string, work: () => Promise<Result>, disks: readonly { id: DiskId }[] = []): Promise<Result> {
    const ended = this.#begin(disks);
    const counted = this.metrics.begin(name);
    try {
      const result = await work();
      counted.end("done");
      return result;
    } catch (error) {
      counted.end("failed");
      throw this.#inContext(doing, error);
    } finally {
      ended();
    }
  }

  /** Notes that the disks are being worked on; the answer ends that, once. */
  #begin(disks: readonly { id: DiskId }[]): () => void {
    for (const { id } of disks) this.#atWork.set(id, (this.#atWork.get(id) ?? 0) + 1);
    let left = disks;
    return () => {
      for (const { id } of left) {
        const others = (this.#atWork.get(id) ?? 1) - 1;
        if (others > 0) this.#atWork.set(id, others);
        else this.#atWork.delete(id);
      }
      left = [];
    };
  }

  #refusal(doing: string, capability: keyof Capabilities["why"]): AppError {
    if (this.down) return this.#inContext(doing, new AppError("pool_unavailable", `it is down: ${this.down.reason}`)) as AppError;
    const because = this.can.why[capability] ?? `its driver, ${this.kind}, has no way to do it`;
    return this.#inContext(doing, new AppError("not_supported", because)) as AppError;
  }

  #inContext(doing: string, error: unknown): unknown {
    const known = asAppError(error);
    return known ? new AppError(known.code, `Cannot ${doing} in pool "${this.name}": ${known.message}`, { cause: known }) : error;
  }
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** These are defects of ours, never of a request: names of files are made of ids, and sizes go into arithmetic. */
function checkDisk({ id, virtualSizeBytes }: NewDisk): void {
  if (!UUID.test(id)) throw new Error(`Broken invariant: "${id}" is no disk id`);
  checkSize(virtualSizeBytes);
}

function checkSize(sizeBytes: number): void {
  if (!Number.isSafeInteger(sizeBytes) || sizeBytes < 0) throw new Error(`Broken invariant: ${sizeBytes} is no size`);
}

function checkRange({ start, end }: ByteRange): void {
  checkSize(start);
  checkSize(end);
  if (start > end) throw new Error(`Broken invariant: a range from ${start} to ${end}`);
}

/** A raw disk may become larger on the way, nothing else may change. */
function checkGrowth(source: StoredRef, target: NewDisk): void {
  checkDisk(target);
  if (target.format === "raw" && target.virtualSizeBytes < source.virtualSizeBytes) {
    throw new Error(`Broken invariant: disk ${target.id} would be smaller than its source ${source.id}`);
  }
}
