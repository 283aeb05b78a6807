/** What `mica worker` is made of: pools of this host, for processes of Mica on others. It has no records, and so no operations of its own. */
import { existsSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Logger } from "pino";
import { createServer } from "#/api/server.ts";
import { closeServer } from "#/api/shutdown.ts";
import { registerWorker } from "#/api/worker/v1/routes.ts";
import { Exports } from "#/app/worker/exports.ts";
import { WorkerService } from "#/app/worker/service.ts";
import type { LoadedConfig } from "#/config/load.ts";
import type { Config } from "#/config/schema.ts";
import { AppError } from "#/domain/errors.ts";
import { cannotListen, hostAndPort, listen, openLog, takeHost, untilSignal } from "#/foreground.ts";
import { SECOND_MS } from "#/lib/units.ts";
import { openPool } from "#/storage/open-pool.ts";
import type { Pool } from "#/storage/pool.ts";
import { Pools } from "#/storage/pools.ts";
import { NbdFront } from "#/tools/nbd-front.ts";
import { readTlsFolder } from "#/tools/tls-folder.ts";

/** How long calls may take to come to rest at the end. */
const CLOSE_LIMIT_MS = 10 * SECOND_MS;

/** Serves until SIGTERM or SIGINT. Errors: `config_invalid`, `conflict`. */
export async function work({ config, warnings }: LoadedConfig): Promise<void> {
  const ended = untilSignal();
  const log = openLog(config);
  for (const warning of warnings) log.warn(warning);
  refuseDetours(config);
  const tls = await readTlsFolder(config.worker.tlsDir, "server");
  await using stack = new AsyncDisposableStack();
  await takeHost(stack, config);

  const pools = stack.use(new Pools(await Promise.all(config.pools.map((pool) => openOwn(pool, config, log)))));
  const exports = new Exports(pools);
  const { listenNbd } = config.worker;
  const nbd = await NbdFront.listen({ ...hostAndPort(listenNbd), tls, find: (name) => exports.find(name), log }).catch((cause: unknown) => {
    throw cannotListen(listenNbd, "--listen-nbd", cause);
  });
  stack.use(nbd);
  const app = createServer({ authenticate: refuseTokens, log, tls });
  registerWorker(app, new WorkerService({ pools, exports, nbd, log }));
  stack.defer(() => closeServer(app, CLOSE_LIMIT_MS));
  const address = await listen(app, config.worker.listen);
  process.stdout.write(`Mica's worker listens on https://${address}, and shows disks on port ${nbd.port}\n`);
  log.info({ signal: await ended }, "ending");
}

/** Its bytes would come this way for nothing. */
function refuseDetours({ pools }: Config): void {
  const far = pools.find(({ driver }) => driver === "worker");
  if (far) throw new AppError("config_invalid", `Pool "${far.name}" is another worker's: a worker serves the pools of its own host only. Have Mica ask that one.`);
}

/** A pool that was open once is not new any more: its folder must not be made anew where its file system is not mounted. There are no records that say so. */
async function openOwn(config: Config["pools"][number], { dataDir }: Config, log: Logger): Promise<Pool> {
  const folder = join(dataDir, "opened-pools");
  const note = join(folder, config.name);
  const pool = await openPool(config, { log, isNew: async () => !existsSync(note) });
  await mkdir(folder, { recursive: true });
  const noteWhenUp = async (): Promise<void> => {
    if (!pool.down && (await noted(note, log))) return;
    setTimeout(() => void noteWhenUp(), SECOND_MS).unref();
  };
  await noteWhenUp();
  return pool;
}

/** A full or missing data folder ends nobody's work. */
async function noted(path: string, log: Logger): Promise<boolean> {
  try {
    await writeFile(path, "");
    return true;
  } catch (err) {
    log.warn({ err }, "that a pool was opened cannot be noted yet");
    return false;
  }
}

/** All routes here are for those whose certificates have let them in. */
async function refuseTokens(): Promise<never> {
  throw new AppError("unauthorized", "A worker knows no users.");
}
