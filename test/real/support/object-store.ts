import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { S3Config } from "#/config/pools/s3.ts";
import { MiB, MINUTE_MS, TiB } from "#/lib/units.ts";
import { run } from "#/tools/run.ts";
import { type CephCluster, startCeph } from "./ceph.ts";

/** A real S3 service: Ceph's gateway on a cluster of its own, on loopback. It is gone, with all it held, when it is disposed of. */
export interface ObjectStore extends AsyncDisposable {
  readonly endpoint: string;
  /** The cluster that it stores in. */
  readonly ceph: CephCluster;
  /** What a process needs in its environment to use it. */
  readonly env: { readonly AWS_ACCESS_KEY_ID: string; readonly AWS_SECRET_ACCESS_KEY: string };
  /** Runs `radosgw-admin`; returns what it printed. */
  admin(...args: string[]): Promise<string>;
}

const GATEWAY = "client.rgw.gate";
export const OWNER = "mica";

export async function startObjectStore(): Promise<ObjectStore> {
  await using stack = new AsyncDisposableStack();
  const ceph = stack.use(await startCeph());
  const endpoint = `http://127.0.0.1:${await freePort()}`;
  const caps = ["mon", "allow rw", "osd", "allow rwx", "mgr", "allow rw"];
  await ceph.ceph("auth", "get-or-create", GATEWAY, ...caps, "-o", join(ceph.folder, `ceph.${GATEWAY}.keyring`));
  const gateway = startGateway(ceph, endpoint);
  stack.defer(() => end(gateway));
  await untilAnswered(endpoint, gateway);
  const [accessKey, secretKey] = [randomBytes(10).toString("hex").toUpperCase(), randomBytes(20).toString("hex")];
  const admin = async (...args: string[]) =>
    (await run("radosgw-admin", ["--conf", ceph.confPath, "--name", "client.admin", ...args], { timeoutMs: MINUTE_MS })).stdout;
  await admin("user", "create", "--uid", OWNER, "--display-name", OWNER, "--access-key", accessKey, "--secret-key", secretKey);
  const kept = stack.move();
  const env = { AWS_ACCESS_KEY_ID: accessKey, AWS_SECRET_ACCESS_KEY: secretKey };
  return { endpoint, ceph, env, admin, [Symbol.asyncDispose]: () => kept.disposeAsync() };
}

/** The section of a pool, with small parts; of all buckets, `images` is made at the first upload. */
export function sectionOf({ endpoint }: Pick<ObjectStore, "endpoint">, more: Partial<S3Config> = {}): S3Config {
  return {
    ...{ endpoint, bucket: "images", prefix: "", region: "us-east-1", addressing: "path", profile: "default", createBucketOnPut: true },
    ...{ partSizeBytes: 5 * MiB, partsAtOnce: 2, capacityBytes: TiB },
    ...more,
  };
}

/** One zone, nothing to keep in step with others. What it prints is of use only where it does not start. */
function startGateway({ confPath, folder }: CephCluster, endpoint: string): ChildProcess {
  const options = ["--rgw-run-sync-thread=false", "--rgw-dynamic-resharding=false", "--rgw-override-bucket-index-max-shards=1", "--rgw-thread-pool-size=16"];
  const where = ["--conf", confPath, "--name", GATEWAY, "--rgw-data", join(folder, "rgw"), "--log-file", join(folder, "log", "rgw.log")];
  const frontend = ["--rgw-frontends", `beast endpoint=${endpoint.replace("http://", "")}`];
  return spawn("setpriv", ["--pdeathsig", "KILL", "--", "radosgw", "--foreground", ...where, ...frontend, ...options], { stdio: "ignore" });
}

/** The first start makes its pools, and answers when that is done. */
async function untilAnswered(endpoint: string, gateway: ChildProcess): Promise<void> {
  const givenUp = AbortSignal.timeout(2 * MINUTE_MS);
  while (!givenUp.aborted) {
    if (gateway.exitCode !== null) throw new Error(`radosgw ended with ${gateway.exitCode}`);
    const answer = await fetch(endpoint, { signal: AbortSignal.timeout(5000) }).catch(() => undefined);
    if (answer?.ok) return;
    await sleep(200);
  }
  throw new Error("radosgw does not answer");
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, "exit");
  child.kill("SIGKILL");
  await ended;
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  return port;
}
