import { mkdtemp, rm } from "node:fs/promises";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { registerImages } from "#/api/image/v2/routes.ts";
import { type Session, TestServer } from "#/api/test-server.ts";
import { audit } from "#/app/audit/audit.ts";
import type { AppContext } from "#/app/context.ts";
import { loadConfig } from "#/config/load.ts";
import type { Config } from "#/config/schema.ts";
import { poolName } from "#/domain/ids.ts";
import { systemClock } from "#/lib/clock.ts";
import { KeyedLocks } from "#/lib/keyed-locks.ts";
import { GroupedSlots } from "#/lib/keyed-slots.ts";
import { silentLog } from "#/lib/log.ts";
import { MiB } from "#/lib/units.ts";
import type { SagaServices } from "#/saga/context.ts";
import { SagaRunner } from "#/saga/runner.ts";
import { SAGAS } from "#/saga/sagas.ts";
import type { StorageDriver } from "#/storage/driver.ts";
import { FileDriver } from "#/storage/file/driver.ts";
import { MemoryDriver } from "#/storage/memory/driver.ts";
import { Pool } from "#/storage/pool.ts";
import { POOL_LIMITS } from "./pool-limits.ts";
import { Pools } from "#/storage/pools.ts";
import { MemoryHypervisor } from "#/vm/memory/driver.ts";
import { sagaLimits } from "./saga-limits.ts";
import { openMemoryDatabase } from "./memory-database.ts";


export interface ImageApiOptions {
  /** Where the bytes are kept; in memory where nothing is said. */
  readonly pool?: "memory" | "file";
  /** Of a pool in memory. */
  readonly capacityBytes?: number;
  readonly config?: Partial<Config>;
  /** Pools behind the first one. */
  readonly more?: readonly Pool[];
}

/** The Image API with Identity, a database and one pool, and three users: alice and bob with projects of their own, and the administrator. */
export class ImageApi implements AsyncDisposable {
  readonly server: TestServer;
  readonly services: SagaServices;
  readonly runner: SagaRunner;
  readonly #stack: AsyncDisposableStack;

  static async open(options: ImageApiOptions = {}): Promise<ImageApi> {
    const stack = new AsyncDisposableStack();
    const db = await openMemoryDatabase();
    const dir = await mkdtemp(join(tmpdir(), "mica-image-api-"));
    stack.defer(() => rm(dir, { recursive: true, force: true }));
    const driver: StorageDriver =
      options.pool === "file" ? await FileDriver.open(dir) : new MemoryDriver({ capacityBytes: options.capacityBytes ?? 256 * MiB });
    const pools = new Pools([new Pool({ name: poolName("local"), roles: ["images", "volumes", "cache"], driver, limits: POOL_LIMITS }), ...(options.more ?? [])]);
    const config = { ...loadConfig({ env: {}, flags: { dataDir: dir } }).config, ...options.config };
    const services = {
      db,
      pools,
      clock: systemClock,
      log: silentLog,
      locks: new KeyedLocks(),
      captureSlots: new GroupedSlots(5),
      limits: sagaLimits(dir, { stagingBytesMax: MiB }),
      hypervisor: new MemoryHypervisor(),
    };
    const runner = new SagaRunner(services, SAGAS, { leaseMs: 30_000, retentionMs: 60_000 });
    const context: AppContext = { db, clock: systemClock, log: silentLog, config, pools, runner, hypervisor: services.hypervisor };
    const server = stack.use(await TestServer.start({ db, register: (app) => registerImages(app, context) }));
    stack.defer(() => runner.close(5000));
    stack.defer(() => server.app.server.closeAllConnections()); // Clients here keep theirs alive for the next test that never comes.
    return new ImageApi(server, services, runner, stack);
  }

  private constructor(server: TestServer, services: SagaServices, runner: SagaRunner, stack: AsyncDisposableStack) {
    this.server = server;
    this.services = services;
    this.runner = runner;
    this.#stack = stack;
  }

  alice = (roles: readonly string[] = ["member"]): Promise<Session> => this.server.login(`alice-${roles.join("-")}`, "alices", roles);
  bob = (): Promise<Session> => this.server.login("bob", "bobs");
  admin = (): Promise<Session> => this.server.login("admin", "admin");

  /** A new image of the session's project; `bare` and `raw` where nothing else is said. */
  async create({ token }: Session, body: object = {}): Promise<string> {
    const answer = await this.server.request("POST", "/image/v2/images", {
      token,
      body: { disk_format: "raw", container_format: "bare", ...body },
    });
    if (answer.statusCode !== 201) throw new Error(`create: ${answer.statusCode} ${answer.body}`);
    return answer.json<{ id: string }>().id;
  }

  async upload({ token }: Session, id: string, content: Buffer) {
    return this.server.request("PUT", `/image/v2/images/${id}/file`, {
      token,
      headers: { "content-type": "application/octet-stream" },
      body: content,
    });
  }

  async show({ token }: Session, id: string) {
    const answer = await this.server.request("GET", `/image/v2/images/${id}`, { token });
    return answer.statusCode === 200 ? answer.json<Record<string, unknown>>() : { status: answer.statusCode };
  }

  /** Listens, for what needs real connections. */
  async url(): Promise<string> {
    if (!this.server.app.server.listening) await this.server.app.listen({ host: "127.0.0.1", port: 0 });
    return `http://127.0.0.1:${(this.server.app.server.address() as AddressInfo).port}`;
  }

  /** What the audit finds, once nothing is under way any more; and whether any disk is left in the pool. */
  async leftovers(): Promise<{ findings: unknown[]; disks: string[]; reservedBytes: number }> {
    await this.settle();
    const stored = await Array.fromAsync(this.services.pools.get(poolName("local")).list());
    const usage = await this.services.db.selectFrom("pool_usage").select("reserved_bytes").executeTakeFirst();
    return { findings: [...(await audit({ ...this.services, serversDir: this.services.limits.servers.dir }))], disks: stored.map(({ id }) => id), reservedBytes: usage?.reserved_bytes ?? 0 };
  }

  /** Waits until no operation is open. */
  async settle(): Promise<void> {
    for (let attempt = 0; attempt < 500; attempt++) {
      const open = await this.services.db.selectFrom("operation").select("id").where("ended_at", "is", null).execute();
      if (open.length === 0) return;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    throw new Error("Operations do not end");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}
