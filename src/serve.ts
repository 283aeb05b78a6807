/** What `mica serve` and `mica audit` are made of, from configuration to API; nothing else builds these parts. */
import { randomUUID } from "node:crypto";
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Logger } from "pino";
import { registerCompute } from "#/api/compute/v2/routes.ts";
import { registerIdentity } from "#/api/identity/v3/routes.ts";
import { registerImages } from "#/api/image/v2/routes.ts";
import { registerMica } from "#/api/mica/v1/routes.ts";
import { createServer, type Server } from "#/api/server.ts";
import { closeServer } from "#/api/shutdown.ts";
import { registerVolumes } from "#/api/volume/v3/routes.ts";
import { audit } from "#/app/audit/audit.ts";
import type { Finding } from "#/app/audit/finding.ts";
import { Audits } from "#/app/audits.ts";
import { CacheCleaner } from "#/app/cache-cleaner.ts";
import { GuestWatcher } from "#/app/guest-watcher.ts";
import { ShelvedOffloader } from "#/app/shelved-offloader.ts";
import { StoppedGuests } from "#/app/stopped-guests.ts";
import type { AppContext } from "#/app/context.ts";
import { bootstrapIdentity, firstPassword } from "#/app/identity/bootstrap.ts";
import { Identity } from "#/app/identity/identity.ts";
import { DiskMaps } from "#/app/disk-maps.ts";
import { Lineages } from "#/app/lineage.ts";
import { Operations } from "#/app/operations.ts";
import { openPools, type PoolOpener, poolOpener } from "#/app/open-pools.ts";
import { PoolAdmin } from "#/app/pool-admin.ts";
import { PoolStates } from "#/app/pool-states.ts";
import { endUnwanted } from "#/app/previous-images.ts";
import { writeCloudsFile } from "#/client/clouds-file.ts";
import type { LoadedConfig } from "#/config/load.ts";
import type { Config } from "#/config/schema.ts";
import { type Database, openDatabase, openDatabaseReadOnly } from "#/db/database.ts";
import { findSetting, settingOrNew } from "#/db/settings.ts";
import { REGION } from "#/domain/catalog.ts";
import { AppError } from "#/domain/errors.ts";
import { listen, openLog, takeHost, untilSignal } from "#/foreground.ts";
import { systemClock } from "#/lib/clock.ts";
import { KeyedLocks } from "#/lib/keyed-locks.ts";
import { GroupedSlots } from "#/lib/keyed-slots.ts";
import { SECOND_MS } from "#/lib/units.ts";
import { SagaRunner } from "#/saga/runner.ts";
import { SAGAS } from "#/saga/sagas.ts";
import { clearStaging } from "#/transfer/staging.ts";
import { absentHypervisor } from "#/vm/absent.ts";
import type { HypervisorDriver } from "#/vm/driver.ts";
import { openHypervisor } from "#/vm/open-hypervisor.ts";

/** How long requests, then operations, may take to come to rest at the end. */
const CLOSE_LIMIT_MS = 10 * SECOND_MS;

/** Serves until SIGTERM or SIGINT. */
export async function serve({ config, sources, warnings }: LoadedConfig): Promise<void> {
  const ended = untilSignal();
  const log = openLog(config);
  for (const warning of warnings) log.warn(warning);
  await using stack = new AsyncDisposableStack();
  await takeHost(stack, config);
  await clearStaging(config.staging.dir);
  const db = stack.use(await openDatabase(databasePath(config)));
  await settingOrNew(db, INSTALLATION_SETTING, randomUUID());
  const open = poolOpener({ db, log });
  const pools = await openPools(db, config.pools, open);
  stack.use(pools);

  const hypervisor = stack.use(await openHost(db, config, log));
  const services = { db, pools, clock: systemClock, log, locks: new KeyedLocks(), captureSlots: new GroupedSlots(config.servers.maxConcurrentSnapshots), limits: config, hypervisor };
  const runner = new SagaRunner(services, SAGAS, config.operations);
  stack.defer(() => runner.close(CLOSE_LIMIT_MS));
  const context: AppContext = { db, clock: systemClock, log, config, pools, runner, hypervisor };

  // Hashing the administrator's password takes a third of a second of a processor: the first answers come before.
  const listening = Promise.withResolvers<void>();
  const adminPassword = config.adminPassword ?? (await firstPassword(db));
  const bootstrapping = listening.promise.then(() => bootstrapIdentity(db, { clock: systemClock, adminPassword }));
  bootstrapping.catch(() => {}); // It is awaited below; a failure in between is not unhandled.
  const app = await buildServer(context, open, log, bootstrapping);
  stack.defer(() => closeServer(app, CLOSE_LIMIT_MS));
  const takenUp = await runner.start({ alone: true });
  await endUnwanted(context);
  stack.use(new CacheCleaner(context));
  stack.use(new GuestWatcher(context));
  stack.use(new ShelvedOffloader(context));
  stack.use(new StoppedGuests(context));
  const url = `http://${await listen(app, config.listen)}`;
  const cloudsFile = await writeClouds(config, url, adminPassword);
  listening.resolve();
  greet({ url, cloudsFile, takenUp, where: sources.get("dataDir") === "default" ? "" : ` --data-dir ${config.dataDir}` });
  await bootstrapping;
  const signal = await ended;
  log.info({ signal }, "ending");
}

/** Holds the records of a data folder against its bytes, also beside a Mica that serves it. */
export async function auditDataFolder({ config }: LoadedConfig): Promise<Finding[]> {
  const path = databasePath(config);
  if (!existsSync(path)) throw new AppError("not_found", `There is nothing to audit in ${config.dataDir}: it has no mica.db. Give the data folder with --data-dir.`);
  await using db = openDatabaseReadOnly(path);
  const open = poolOpener({ db, log: openLog({ ...config, logLevel: "error" }), readOnly: true });
  await using pools = await openPools(db, config.pools, open);
  await using hypervisor = await openHost(db, config, openLog({ ...config, logLevel: "error" }));
  return await audit({ db, pools, hypervisor, serversDir: config.servers.dir });
}

/** The hypervisor of this host, or what stands for it where there is none. */
async function openHost(db: Database, { hypervisor }: Config, log: Logger): Promise<HypervisorDriver> {
  const { driver, because } = await openHypervisor(hypervisor, { owner: await installationId(db), log });
  if (!driver) log.debug({ because }, "no hypervisor: there can be no servers");
  return driver ?? absentHypervisor(because);
}

/** Of this data folder, over restarts: other installations on the host have guests, too. Before the first start there is none. */
async function installationId(db: Database): Promise<string> {
  const known = await findSetting(db, INSTALLATION_SETTING);
  return known ?? randomUUID();
}

const INSTALLATION_SETTING = "installation_id";

/** Version documents are answered at once; whatever changes something, a login too, waits for `ready`. */
async function buildServer(context: AppContext, openPool: PoolOpener, log: Logger, ready: Promise<unknown>): Promise<Server> {
  const { config, db, clock } = context;
  const identity = await Identity.open({ db, clock, tokenLifetimeMs: config.tokenLifetimeMs });
  const app = createServer({ authenticate: (credentials) => identity.authenticate(credentials), log });
  app.addHook("onRequest", async ({ method }) => {
    if (method !== "GET") await ready;
  });
  registerIdentity(app, { identity, publicUrl: config.publicUrl });
  registerImages(app, context);
  const storage = await registerVolumes(app, context);
  registerCompute(app, context, storage);
  registerMica(app, {
    plans: storage.plans,
    captures: storage.captures,
    operations: new Operations(context),
    pools: new PoolStates(context),
    poolAdmin: new PoolAdmin(context, openPool),
    lineages: new Lineages(context),
    audits: new Audits(context),
    maps: new DiskMaps(context, storage),
  });
  return app;
}

/** The password is known only when it is given or has just been made: else the one in the file stays, beside what may be a new address. */
async function writeClouds(config: Config, url: string, password: string | undefined): Promise<string> {
  const path = join(config.dataDir, "clouds.yaml");
  const authUrl = `${config.publicUrl ?? url}/identity/v3`;
  await writeCloudsFile(path, { name: "mica", authUrl, username: "admin", password, projectName: "admin", region: REGION });
  return path;
}

/** `where` is what commands need to find this Mica; nothing with the default data folder. */
function greet({ url, cloudsFile, takenUp, where }: { url: string; cloudsFile: string; takenUp: number; where: string }): void {
  const lines = [
    `Mica listens on ${url}`,
    ...(takenUp > 0 ? [`It goes on with ${takenUp} operation${takenUp === 1 ? "" : "s"} that the last process had begun.`] : []),
    `The user admin and its password are in ${cloudsFile}`,
    "",
    "Try next, in another terminal:",
    `  ./bin/mica demo${where}`,
    "      the main job before your eyes: an image in, volumes out, an image again, compared",
    `  OS_CLIENT_CONFIG_FILE=${cloudsFile} openstack --os-cloud mica image list`,
    "      any OpenStack client works",
    `  ./bin/mica pools${where}`,
    "      where bytes live, and what each pool can do",
    "",
  ];
  process.stdout.write(`${lines.join("\n")}\n`);
}

function databasePath({ dataDir }: Pick<Config, "dataDir">): string {
  return join(dataDir, "mica.db");
}
