import assert from "node:assert/strict";
import { randomBytes, randomUUID } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { audit } from "#/app/audit/audit.ts";
import type { Finding } from "#/app/audit/finding.ts";
import { Materialise, type VolumeSource } from "#/app/materialise.ts";
import type { Database } from "#/db/database.ts";
import { getDisk, insertDisk, setDiskReady } from "#/db/disks.ts";
import { addQuotaUsage } from "#/db/quota-usage.ts";
import type { ImageTable, SnapshotTable, VolumeTable } from "#/db/tables.ts";
import type { ImageForm } from "#/domain/compression.ts";
import type { DiskFormat } from "#/domain/disk.ts";
import { type DiskId, diskId, operationId, poolName } from "#/domain/ids.ts";
import { snapshotQuota, volumeQuota } from "#/domain/quota.ts";
import { systemClock } from "#/lib/clock.ts";
import { KeyedLocks } from "#/lib/keyed-locks.ts";
import { GroupedSlots } from "#/lib/keyed-slots.ts";
import { silentLog } from "#/lib/log.ts";
import { MiB } from "#/lib/units.ts";
import type { Plan } from "#/planner/plan.ts";
import type { Actual, SagaContext, SagaServices } from "#/saga/context.ts";
import { type AnySaga, SagaRunner } from "#/saga/runner.ts";
import type { StorageDriver } from "#/storage/driver.ts";
import { MemoryDriver } from "#/storage/memory/driver.ts";
import { Pool, type PoolLimits } from "#/storage/pool.ts";
import { Pools } from "#/storage/pools.ts";
import type { HypervisorDriver } from "#/vm/driver.ts";
import { MemoryHypervisor } from "#/vm/memory/driver.ts";
import { sagaLimits } from "./saga-limits.ts";
import { POOL_LIMITS } from "./pool-limits.ts";
import { openMemoryDatabase } from "./memory-database.ts";

export const TYPE = { id: "type", name: "__DEFAULT__" };
export const PROJECT = "project";

export interface SagaWorldOptions {
  readonly clone?: "independent" | "dependent" | "none";
  readonly cloneDepthMax?: number;
  readonly limits?: Partial<PoolLimits>;
  readonly sagas?: readonly AnySaga[];
  /** What pool `fast` stands on; where it is not given a memory driver, beside which pool `near` is one place with it. */
  readonly driver?: StorageDriver;
  /** A pool `far` for images, of another place. */
  readonly far?: StorageDriver;
  readonly hypervisor?: HypervisorDriver;
}

/** A place for sagas: a database and pools in memory, records with bytes, and the audit to ask afterwards. */
export class SagaWorld implements AsyncDisposable {
  readonly services: SagaServices;
  readonly runner: SagaRunner;

  private constructor(services: SagaServices, sagas: readonly AnySaga[]) {
    this.services = services;
    this.runner = new SagaRunner(services, sagas, { leaseMs: 30_000, retentionMs: 1000 });
  }

  static async open({ clone = "dependent", cloneDepthMax = 5, sagas = [], driver, far, hypervisor = new MemoryHypervisor(), limits: more }: SagaWorldOptions = {}): Promise<SagaWorld> {
    const db = await openMemoryDatabase();
    const fast = driver ?? new MemoryDriver({ capacityBytes: 64 * MiB, clone });
    const limits = { ...POOL_LIMITS, cloneDepthMax, ...more };
    const pools = new Pools([
      new Pool({ name: poolName("fast"), roles: ["images", "volumes", "servers", "cache"], driver: fast, limits }),
      ...(fast instanceof MemoryDriver ? [new Pool({ name: poolName("near"), roles: ["images"], driver: new MemoryDriver({ beside: fast }), limits })] : []),
      ...(far ? [new Pool({ name: poolName("far"), roles: ["images"], driver: far, limits })] : []),
      new Pool({ name: poolName("slow"), roles: ["images"], driver: new MemoryDriver({ capacityBytes: 64 * MiB }), limits }),
    ]);
    await db.insertInto("volume_type").values({ ...TYPE, description: null, is_public: 1, created_at: 0, updated_at: 0 }).execute();
    const dir = await mkdtemp(join(tmpdir(), "mica-staging-"));
    return new SagaWorld({ db, pools, clock: systemClock, log: silentLog, locks: new KeyedLocks(), captureSlots: new GroupedSlots(5), limits: sagaLimits(dir, { stagingBytesMax: 64 * MiB }), hypervisor }, sagas);
  }

  get db(): Database {
    return this.services.db;
  }

  /** What the steps of a saga are given, outside of a runner's operation. */
  context<P extends object>(params: P, plan?: Plan): SagaContext<P> & { readonly actual: Actual } {
    const actual: Actual = {};
    const report = async (facts: Actual) => void Object.assign(actual, facts);
    return { ...this.services, params, plan, operationId: operationId(randomUUID()), requestId: "req-1", report, runner: this.runner, actual };
  }

  async planVolume(source: VolumeSource, sizeBytes: number): Promise<Plan> {
    const { plan } = await new Materialise(this.services).planVolume({ source, sizeBytes, volumeType: { name: TYPE.name, extraSpecs: {} } });
    return plan;
  }

  async planImage(volumeId: string, form: ImageForm, store?: string): Promise<Plan> {
    return new Materialise(this.services).planImage({ volumeId, form, store });
  }

  /** An active image whose bytes are `content`, in the pool. */
  async addImage(content: Buffer, { pool = "fast", format = "raw", virtualSizeBytes = content.length }: { pool?: string; format?: DiskFormat; virtualSizeBytes?: number } = {}): Promise<string> {
    const id = randomUUID();
    await this.#store(diskId(id), content, { pool, format, virtualSizeBytes, kind: "image", holder: id });
    const row: ImageTable = { ...IMAGE, id, status: "active", disk_format: format, size_bytes: content.length, virtual_size_bytes: virtualSizeBytes, disk_id: id };
    await this.db.insertInto("image").values(row).execute();
    return id;
  }

  async addQueuedImage(diskFormat = "raw", containerFormat = "bare"): Promise<string> {
    const id = randomUUID();
    await this.db.insertInto("image").values({ ...IMAGE, id, disk_format: diskFormat, container_format: containerFormat }).execute();
    return id;
  }

  /** A volume's record, as the API leaves it for a saga; with `content` it has bytes. */
  async addVolume(changes: Partial<VolumeTable> = {}, content?: Buffer): Promise<string> {
    const id = changes.id ?? randomUUID();
    const sizeBytes = changes.size_bytes ?? content?.length ?? MiB;
    if (content) await this.#store(diskId(id), content, { pool: "fast", format: "raw", virtualSizeBytes: sizeBytes, kind: "volume", holder: id });
    await this.db.insertInto("volume").values({ ...VOLUME, size_bytes: sizeBytes, ...(content && { status: "available", disk_id: id }), ...changes, id }).execute();
    await addQuotaUsage(this.db, PROJECT, volumeQuota(sizeBytes, TYPE.name));
    return id;
  }

  async addSnapshot(volumeId: string, changes: Partial<SnapshotTable> = {}): Promise<string> {
    const id = randomUUID();
    const { size_bytes } = await this.db.selectFrom("volume").select("size_bytes").where("id", "=", volumeId).executeTakeFirstOrThrow();
    await this.db.insertInto("snapshot").values({ ...SNAPSHOT, id, volume_id: volumeId, size_bytes, ...changes }).execute();
    await addQuotaUsage(this.db, PROJECT, snapshotQuota(size_bytes, TYPE.name));
    return id;
  }

  async volume(id: string): Promise<VolumeTable | undefined> {
    return this.db.selectFrom("volume").selectAll().where("id", "=", id).executeTakeFirst();
  }

  async image(id: string): Promise<ImageTable | undefined> {
    return this.db.selectFrom("image").selectAll().where("id", "=", id).executeTakeFirst();
  }

  async snapshot(id: string): Promise<SnapshotTable | undefined> {
    return this.db.selectFrom("snapshot").selectAll().where("id", "=", id).executeTakeFirst();
  }

  /** The content of a recorded disk, as far as `length` says. */
  async content(id: string | null | undefined, length: number): Promise<Buffer> {
    assert.ok(id, "there is no disk");
    const disk = await getDisk(this.db, diskId(id));
    const chunks: Buffer[] = [];
    for await (const chunk of this.services.pools.get(disk.pool).read(disk, { start: 0, end: length })) chunks.push(Buffer.from(chunk));
    return Buffer.concat(chunks);
  }

  async audit(): Promise<Finding[]> {
    return audit({ ...this.services, serversDir: this.services.limits.servers.dir });
  }

  /** Fails where bytes, records and sums do not fit together, once what runs in the background has ended. */
  async assertAuditClean(): Promise<void> {
    await this.settle();
    assert.deepEqual(await this.audit(), []);
  }

  /** Waits for the operations that were begun in the background. */
  async settle(): Promise<void> {
    for (;;) {
      const open = await this.db.selectFrom("operation").select("id").where("ended_at", "is", null).execute();
      if (open.length === 0) return;
      await Promise.all(open.map(({ id }) => this.runner.run(operationId(id))));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.settle();
    await this.db.destroy();
    await rm(this.services.limits.staging.dir, { recursive: true });
  }

  async #store(id: DiskId, content: Buffer, { pool: name, format, virtualSizeBytes, kind, holder }: { pool: string; format: DiskFormat; virtualSizeBytes: number; kind: "image" | "volume"; holder: string }): Promise<void> {
    const pool = this.services.pools.get(poolName(name));
    const writer = await pool.receive({ id, format, virtualSizeBytes });
    if (content.length > 0) await writer.write(content, 0);
    await writer.finish(content.length);
    await this.db.transaction().execute(async (trx) => {
      await insertDisk(trx, { id, pool: pool.name, format, virtualSizeBytes, holder: { kind, id: holder } }, { reservedBytes: 0, nowMs: 0 });
      await setDiskReady(trx, id);
    });
  }
}

/** Random bytes with a hole in the middle, as disks have. */
export function someContent(sizeBytes = MiB): Buffer {
  const content = Buffer.alloc(sizeBytes);
  randomBytes(sizeBytes >> 2).copy(content);
  randomBytes(sizeBytes >> 2).copy(content, sizeBytes - (sizeBytes >> 2));
  return content;
}

const IMAGE: Omit<ImageTable, "id"> = {
  name: "image",
  owner: PROJECT,
  status: "queued",
  visibility: "private",
  disk_format: "raw",
  container_format: "bare",
  size_bytes: null,
  virtual_size_bytes: null,
  min_disk_gib: 0,
  min_ram_mib: 0,
  protected: 0,
  hidden: 0,
  checksum_md5: null,
  hash_algorithm: null,
  hash_value: null,
  disk_id: null,
  created_at: 0,
  updated_at: 0,
};

const VOLUME: Omit<VolumeTable, "id"> = {
  project_id: PROJECT,
  user_id: "user",
  name: "volume",
  description: null,
  status: "creating",
  previous_status: null,
  size_bytes: MiB,
  availability_zone: "nova",
  volume_type_id: TYPE.id,
  bootable: 0,
  readonly: 0,
  multiattach: 0,
  attach_status: "detached",
  migration_status: null,
  snapshot_id: null,
  source_volume_id: null,
  image_id: null,
  pool: "fast",
  disk_id: null,
  created_at: 0,
  updated_at: 0,
};

const SNAPSHOT: Omit<SnapshotTable, "id"> = {
  volume_id: "",
  project_id: PROJECT,
  user_id: "user",
  name: "snapshot",
  description: null,
  status: "creating",
  size_bytes: MiB,
  disk_id: null,
  image_id: null,
  created_at: 0,
  updated_at: 0,
};
