import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { pino } from "pino";
import type { AppContext } from "#/app/context.ts";
import { openPools, poolOpener } from "#/app/open-pools.ts";
import { PoolAdmin } from "#/app/pool-admin.ts";
import { PoolStates } from "#/app/pool-states.ts";
import { loadConfig } from "#/config/load.ts";
import type { Database } from "#/db/database.ts";
import { insertDisk } from "#/db/disks.ts";
import type { Caller } from "#/domain/caller.ts";
import { diskId, operationId, poolName, projectId, userId } from "#/domain/ids.ts";
import { systemClock } from "#/lib/clock.ts";
import { KeyedLocks } from "#/lib/keyed-locks.ts";
import { GroupedSlots } from "#/lib/keyed-slots.ts";
import { MiB } from "#/lib/units.ts";
import { SagaRunner } from "#/saga/runner.ts";
import { SAGAS } from "#/saga/sagas.ts";
import { MemoryHypervisor } from "#/vm/memory/driver.ts";
import { openMemoryDatabase } from "../../test/support/memory-database.ts";

const MEMBER: Caller = { userId: userId("u"), userName: "u", projectId: projectId("p"), roles: new Set(["member", "reader"]), requestId: "req-1", isService: false };
const ADMIN: Caller = { ...MEMBER, roles: new Set(["admin", "member", "reader"]) };

const root = await mkdtemp(join(tmpdir(), "mica-pool-admin-"));
after(() => rm(root, { recursive: true }));

/** A data folder whose Mica can be started again. */
class World implements AsyncDisposable {
  readonly dataDir = join(root, randomUUID());
  readonly db: Database;
  readonly context: AppContext;
  readonly admin: PoolAdmin;
  readonly states: PoolStates;

  private constructor(db: Database, context: AppContext, admin: PoolAdmin) {
    this.db = db;
    this.context = context;
    this.admin = admin;
    this.states = new PoolStates(context);
  }

  static async open(db?: Database, pools: readonly object[] = [{ name: "local", path: join(root, randomUUID()) }]): Promise<World> {
    const state = db ?? (await openMemoryDatabase());
    const log = pino({ level: "silent" });
    const { config } = loadConfig({ env: { MICA_POOLS: JSON.stringify(pools) }, flags: { dataDir: join(root, "data") } });
    const open = poolOpener({ db: state, log });
    const opened = await openPools(state, config.pools, open);
    const services = { db: state, pools: opened, clock: systemClock, log, locks: new KeyedLocks(), captureSlots: new GroupedSlots(5), limits: config, hypervisor: new MemoryHypervisor() };
    const runner = new SagaRunner(services, SAGAS, config.operations);
    const context = { db: state, clock: systemClock, log, config, pools: opened, runner, hypervisor: services.hypervisor };
    return new World(state, context, new PoolAdmin(context, open));
  }

  /** Records a disk without bytes: enough to be in the way. */
  async addDisk(pool: string, kind: "volume" | "cache" | "image" = "volume"): Promise<string> {
    const id = diskId(randomUUID());
    const disk = { id, pool: poolName(pool), format: "raw", virtualSizeBytes: MiB, holder: { kind, id: randomUUID() }, parent: undefined } as const;
    await insertDisk(this.db, disk, { reservedBytes: 0, nowMs: 0 });
    return id;
  }

  async names(): Promise<string[]> {
    return (await this.states.list(ADMIN)).map(({ name, state, drained }) => `${name} ${state}${drained ? " drained" : ""}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.context.pools[Symbol.asyncDispose]();
  }
}

const folder = () => join(root, randomUUID());

describe("PoolAdmin", () => {
  it("adds a pool, which is there after a restart too", async () => {
    const path = folder();
    const local = [{ name: "local", path: folder() }];
    await using world = await World.open(undefined, local);
    const pool = await world.admin.add(ADMIN, { name: "fast", path, roles: ["volumes"], overSubscriptionRatioMax: 3 });
    assert.deepEqual([pool.limits.overSubscriptionRatioMax, pool.limits.cloneDepthMax], [3, 5]);
    assert.deepEqual(await world.names(), ["local up", "fast up"]);
    assert.deepEqual((await world.states.list(ADMIN)).map(({ added }) => added), [false, true]);
    await using again = await World.open(world.db, local);
    assert.deepEqual(await again.names(), ["local up", "fast up"]);
    assert.equal(again.context.pools.get(poolName("fast")).limits.overSubscriptionRatioMax, 3);
  });

  const WRONG: readonly [string, object, string, RegExp][] = [
    ["what is no pool", { name: "X", colour: "red" }, "bad_request", /pool\.colour is unknown.*pool\.name is "X", but must be a lower-case letter/],
    ["a pool without its path", { name: "x" }, "bad_request", /"x" has driver "file" and needs a path/],
    ["a relative path", { name: "x", path: "disks" }, "bad_request", /pool\.path is "disks", but must be an absolute path/],
    ["a function that cannot be used", { name: "x", path: "/x", goodnessFunction: "1 +" }, "bad_request", /goodnessFunction that cannot be used: it ends where/],
    ["a name that is taken", { name: "local", path: "/x" }, "conflict", /There is a pool "local" already/],
    ["a place that cannot be opened", { name: "x", path: "/proc/nowhere" }, "pool_unavailable", /cannot be opened, and was not added: ENOENT/],
  ];
  for (const [what, written, code, message] of WRONG) {
    it(`does not add ${what}`, async () => {
      await using world = await World.open();
      await assert.rejects(world.admin.add(ADMIN, written), { code, message });
      assert.deepEqual(await world.names(), ["local up"]);
    });
  }

  it("does not add the folder of another pool, and takes it once that is removed", async () => {
    await using world = await World.open();
    const path = folder();
    await world.admin.add(ADMIN, { name: "fast", path });
    await assert.rejects(world.admin.add(ADMIN, { name: "slow", path }), { code: "conflict", message: /is that of pool "fast" already/ });
    await world.admin.remove(ADMIN, "fast");
    assert.deepEqual(await readdir(path), []);
    await world.admin.add(ADMIN, { name: "slow", path });
    assert.deepEqual(await world.names(), ["local up", "slow up"]);
  });

  it("removes only what was added and holds nothing, and says what is in the way", async () => {
    await using world = await World.open();
    await world.admin.add(ADMIN, { name: "fast", path: folder() });
    await assert.rejects(world.admin.remove(ADMIN, "local"), { code: "conflict", message: /is in the configuration: take it out there/ });
    await assert.rejects(world.admin.remove(ADMIN, "moon"), { code: "not_found" });
    const ids = [await world.addDisk("fast"), await world.addDisk("fast"), await world.addDisk("fast", "image")];
    const message = 'Pool "fast" holds 3 disks: 1 of images, 2 of volumes. Drain it first (mica pool drain fast), and delete what they belong to, then remove it.';
    await assert.rejects(world.admin.remove(ADMIN, "fast"), { code: "conflict", message });
    await world.db.deleteFrom("disk").where("id", "in", ids).execute();
    await world.admin.remove(ADMIN, "fast");
    assert.deepEqual(await world.names(), ["local up"]);
    assert.throws(() => world.context.pools.get(poolName("fast")), { code: "pool_unavailable" });
  });

  it("drains across restarts: nothing new goes there, and its cache is dropped", async () => {
    const local = [{ name: "local", path: folder() }];
    await using world = await World.open(undefined, local);
    const taking = () => world.context.pools.takingNew("volumes").map(({ name }) => name);
    await world.admin.add(ADMIN, { name: "fast", path: folder() });
    const cached = await world.addDisk("fast", "cache");
    await world.db.insertInto("cache_entry").values({ image_id: "i", pool: "fast", disk_id: cached, state: "ready", filled_by: "me", size_bytes: 1, hits: 0, created_at: 0, last_used_at: 0 }).execute();
    await world.admin.setDrained(ADMIN, "fast", true);
    assert.deepEqual(taking(), ["local"]);
    const [emptying] = await world.db.selectFrom("operation").select("id").execute();
    await world.context.runner.run(operationId(emptying?.id ?? ""));
    assert.equal(await world.db.selectFrom("disk").select("id").where("pool", "=", "fast").executeTakeFirst(), undefined);
    await using again = await World.open(world.db, local);
    assert.deepEqual(await again.names(), ["local up", "fast up drained"]);
    await world.admin.setDrained(ADMIN, "local", true);
    assert.throws(taking, { code: "pool_unavailable", message: /pool "local" is drained: it takes no new disks; pool "fast" is drained/ });
    await world.admin.setDrained(ADMIN, "fast", false);
    assert.deepEqual(taking(), ["fast"]);
  });

  it("starts with a pool that cannot be opened, and keeps its disks", async () => {
    const [path, local] = [folder(), { name: "local", path: folder() }];
    await using world = await World.open(undefined, [local, { name: "away", path }]);
    await world.addDisk("away");
    await rm(path, { recursive: true });
    await mkdir(path);
    await using again = await World.open(world.db, [local, { name: "away", path }]);
    const states = await again.states.list(ADMIN);
    assert.deepEqual(states.map(({ state, disks }) => [state, disks.count]), [["up", 0], ["down", 1]]);
    assert.match(states[1]?.reason ?? "", /is not the folder that holds the pool's disks: it is empty. Something is not mounted there/);
    assert.deepEqual(again.context.pools.takingNew("images").map(({ name }) => name), ["local"]);
    assert.deepEqual(await readdir(path), [], "nothing was written where the disks are not");
    await writeFile(join(path, ".mica-pool"), "away\n");
    for (let i = 0; i < 300 && again.context.pools.get(poolName("away")).down; i++) await new Promise((resolve) => setTimeout(resolve, 10));
    assert.deepEqual(await again.names(), ["local up", "away up"]);
  });

  it("takes a pool that has moved into the configuration for the same, and refuses another of its name", async () => {
    const [path, local] = [folder(), { name: "local", path: folder() }];
    await using world = await World.open(undefined, [local]);
    await world.admin.add(ADMIN, { name: "fast", path });
    await using again = await World.open(world.db, [local, { name: "fast", path }]);
    assert.deepEqual(await again.names(), ["local up", "fast up"]);
    await assert.rejects(World.open(world.db, [local, { name: "fast", path: folder() }]), { code: "config_invalid", message: /another of that name was added with `mica pool add`/ });
  });

  it("refuses to share blocks where the storage cannot, with the reason", async () => {
    await using world = await World.open();
    await assert.rejects(world.admin.dedup(ADMIN, "local"), { code: "not_supported", message: /Pool "local" cannot share what its disks hold alike: .*XFS and btrfs can/ });
    await assert.rejects(world.admin.dedup(ADMIN, "moon"), { code: "not_found" });
  });

  it("is for administrators", async () => {
    await using world = await World.open();
    for (const attempt of [
      () => world.admin.add(MEMBER, { name: "x", path: "/x" }),
      () => world.admin.setDrained(MEMBER, "local", true),
      () => world.admin.remove(MEMBER, "local"),
      () => world.admin.dedup(MEMBER, "local"),
    ]) {
      await assert.rejects(attempt, { code: "forbidden" });
    }
  });
});
