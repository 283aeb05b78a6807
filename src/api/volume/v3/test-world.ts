import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { tmpdir } from "node:os";
import type { LightMyRequestResponse } from "fastify";
import type { Server } from "#/api/server.ts";
import { type Session, TestServer } from "#/api/test-server.ts";
import { audit } from "#/app/audit/audit.ts";
import { type BlockStorage, openBlockStorage } from "#/app/block-storage.ts";
import type { AppContext } from "#/app/context.ts";
import { loadConfig } from "#/config/load.ts";
import type { Config } from "#/config/schema.ts";
import { insertDisk, setDiskReady } from "#/db/disks.ts";
import { insertImage } from "#/db/images.ts";
import { diskId, imageId, operationId, poolName } from "#/domain/ids.ts";
import type { Image } from "#/domain/image.ts";
import { KeyedLocks } from "#/lib/keyed-locks.ts";
import { GroupedSlots } from "#/lib/keyed-slots.ts";
import { silentLog } from "#/lib/log.ts";
import { GiB, KiB, MiB } from "#/lib/units.ts";
import { SagaRunner } from "#/saga/runner.ts";
import { SAGAS } from "#/saga/sagas.ts";
import type { StorageDriver } from "#/storage/driver.ts";
import { MemoryDriver } from "#/storage/memory/driver.ts";
import { Pool, type PoolLimits } from "#/storage/pool.ts";
import { POOL_LIMITS } from "../../../../test/support/pool-limits.ts";
import { Pools } from "#/storage/pools.ts";
import { FaultyDriver } from "#/storage/wrap/faulty.ts";
import { MemoryHypervisor } from "#/vm/memory/driver.ts";
import { sagaLimits } from "../../../../test/support/saga-limits.ts";
import { mountVolumes } from "./routes.ts";
import { openMemoryDatabase } from "../../../../test/support/memory-database.ts";

type Method = "GET" | "POST" | "PUT" | "DELETE";

export interface Call {
  readonly as?: Session;
  /** The microversion's number after the dot; the newest where it is left out. */
  readonly minor?: number;
  readonly body?: object | string;
}

/** Changes of the default configuration; quotas that are not named keep theirs. */
export type ConfigChanges = Partial<Omit<Config, "quotas">> & { readonly quotas?: Partial<Config["quotas"]> };

export interface WorldOptions {
  /** Images have a pool of that name of their own, elsewhere. */
  readonly store?: string;
  /** Of the pool of volumes, `local`. */
  readonly limits?: Partial<PoolLimits>;
  /** What the pool of volumes stands on, instead of this process's memory. */
  readonly base?: StorageDriver;
  /** For what is staged, and what hosts keep of servers. */
  readonly dir?: string;
  /** Adds another API beside this one. */
  readonly mount?: (app: Server, context: AppContext, storage: BlockStorage) => void;
}

/** Requests against the Block Storage API, with everything real below it: database, sagas, and a pool in memory. */
export class TestWorld implements AsyncDisposable {
  readonly server: TestServer;
  readonly context: AppContext;
  readonly storage: BlockStorage;
  readonly alice: Session;
  readonly admin: Session;
  /** While `broken`, the pool fails whenever bytes are to be written. */
  readonly faults: { broken: boolean };

  static async open({ quotas, ...changes }: ConfigChanges = {}, { store, limits = {}, base, dir = tmpdir(), mount }: WorldOptions = {}): Promise<TestWorld> {
    const db = await openMemoryDatabase();
    const { config } = loadConfig({ flags: { dataDir: "/nowhere" }, env: {}, readFile: () => undefined });
    const faults = { broken: false };
    const driver = new FaultyDriver(base ?? new MemoryDriver({ capacityBytes: 100 * GiB, clone: "dependent" }), {
      rate: 0.5,
      random: () => (faults.broken ? 0 : 1),
      spare: ["capacity", "stat", "list", "delete"],
    });
    const roles = store === undefined ? (["images", "volumes", "servers", "cache"] as const) : (["volumes", "servers", "cache"] as const);
    const pools = new Pools([
      new Pool({ name: poolName("local"), roles, driver, limits: { ...POOL_LIMITS, ...limits } }),
      ...(store === undefined ? [] : [new Pool({ name: poolName(store), roles: ["images"], driver: new MemoryDriver({ capacityBytes: 100 * GiB }), limits: POOL_LIMITS })]),
    ]);
    // No two records of a test are made at the same time, so that their order is known.
    let nowMs = Date.now();
    const clock = { nowMs: () => ++nowMs };
    const services = { db, pools, clock, log: silentLog, locks: new KeyedLocks(), captureSlots: new GroupedSlots(5), limits: sagaLimits(dir, { stagingBytesMax: 64 * MiB }), hypervisor: new MemoryHypervisor() };
    const runner = new SagaRunner(services, SAGAS, { leaseMs: 30_000, retentionMs: 1000 });
    const context: AppContext = { db, clock, log: silentLog, config: { ...config, ...changes, quotas: { ...config.quotas, ...quotas } }, pools, runner, hypervisor: services.hypervisor };
    const storage = await openBlockStorage(context);
    const register = (app: Server) => {
      mountVolumes(app, context, storage);
      mount?.(app, context, storage);
    };
    const server = await TestServer.start({ db, register });
    const [alice, admin] = [await server.login("alice", "wonderland"), await server.login("admin", "admin")];
    return new TestWorld({ server, context, storage, alice, admin, faults });
  }

  private constructor(parts: Pick<TestWorld, "server" | "context" | "storage" | "alice" | "admin" | "faults">) {
    this.server = parts.server;
    this.context = parts.context;
    this.storage = parts.storage;
    this.alice = parts.alice;
    this.admin = parts.admin;
    this.faults = parts.faults;
  }

  /** Asks as alice with the newest microversion, unless the call says otherwise. `path` begins behind /v3. */
  async ask(method: Method, path: string, { as = this.alice, minor = 71, body }: Call = {}): Promise<LightMyRequestResponse> {
    const headers = {
      "openstack-api-version": `volume 3.${minor}`,
      ...(typeof body === "string" && { "content-type": "application/json" }),
    };
    return this.server.request(method, `/volume/v3${path}`, { token: as.token, headers, ...(body !== undefined && { body }) });
  }

  /** The body of an answer that must have this status. */
  // biome-ignore lint/suspicious/noExplicitAny: tests look into bodies of every shape.
  async expect(status: number, method: Method, path: string, call: Call = {}): Promise<any> {
    const answer = await this.ask(method, path, call);
    assert.equal(answer.statusCode, status, `${method} ${path}: ${answer.body}`);
    return answer.body === "" ? undefined : answer.json();
  }

  /** The message of a refusal that must have this status. */
  async refusal(status: number, method: Method, path: string, call: Call = {}): Promise<string> {
    const body = await this.expect(status, method, path, call);
    const [fault] = Object.values(body as Record<string, { code: number; message: string }>);
    assert.equal(fault?.code, status);
    return fault?.message ?? "";
  }

  /** An available volume of 1 GiB, or what `fields` say. */
  async makeVolume(fields: object = {}, call: Call = {}): Promise<string> {
    const { volume } = await this.expect(202, "POST", "/volumes", { ...call, body: { volume: { size: 1, ...fields } } });
    await this.settle();
    return volume.id;
  }

  async makeSnapshot(volumeId: string, fields: object = {}): Promise<string> {
    const { snapshot } = await this.expect(202, "POST", "/snapshots", { body: { snapshot: { volume_id: volumeId, ...fields } } });
    await this.settle();
    return snapshot.id;
  }

  /** An active image with bytes; alice's own unless `changes` say otherwise. */
  async makeImage(changes: Partial<Image> = {}): Promise<string> {
    const id = randomUUID();
    const content = Buffer.alloc(64 * KiB, "disk");
    const pool = this.context.pools.get(poolName("local"));
    const virtualSizeBytes = changes.virtualSizeBytes ?? content.length;
    const disk = {
      id: diskId(id),
      pool: pool.name,
      format: "raw",
      virtualSizeBytes: content.length,
      holder: { kind: "image", id },
    } as const;
    const writer = await pool.receive(disk);
    await writer.write(content, 0);
    await writer.finish(content.length);
    await this.context.db.transaction().execute(async (trx) => {
      await insertDisk(trx, disk, { reservedBytes: 0, nowMs: 0 });
      await setDiskReady(trx, disk.id);
      await insertImage(trx, {
        ...IMAGE,
        owner: this.alice.projectId,
        sizeBytes: content.length,
        virtualSizeBytes,
        diskId: disk.id,
        ...changes,
        id: imageId(id),
      });
    });
    return id;
  }

  async status(volumeId: string): Promise<string> {
    return (await this.expect(200, "GET", `/volumes/${volumeId}`, { as: this.admin })).volume.status;
  }

  async setStatus(volumeId: string, status: string): Promise<void> {
    await this.expect(202, "POST", `/volumes/${volumeId}/action`, { as: this.admin, body: { "os-reset_status": { status } } });
  }

  /** Waits for all operations. */
  async settle(): Promise<void> {
    for (;;) {
      const open = await this.context.db.selectFrom("operation").select("id").where("ended_at", "is", null).execute();
      if (open.length === 0) return;
      await Promise.all(open.map(({ id }) => this.context.runner.run(operationId(id))));
    }
  }

  async assertAuditClean(): Promise<void> {
    await this.settle();
    assert.deepEqual(await audit({ ...this.context, serversDir: this.context.config.servers.dir }), []);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.settle();
    await this.server[Symbol.asyncDispose]();
  }
}

const IMAGE: Omit<Image, "id" | "owner" | "sizeBytes" | "virtualSizeBytes" | "diskId"> = {
  name: "cirros",
  status: "active",
  visibility: "private",
  diskFormat: "raw",
  containerFormat: "bare",
  minDiskGib: 0,
  minRamMib: 0,
  isProtected: false,
  isHidden: false,
  tags: [],
  checksumMd5: "d41d8cd98f00b204e9800998ecf8427e",
  hashAlgorithm: "sha512",
  hashValue: "cf83e1",
  createdAtMs: 0,
  updatedAtMs: 0,
  properties: { os_distro: "cirros" },
};
