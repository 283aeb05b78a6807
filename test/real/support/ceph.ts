import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MINUTE_MS } from "#/lib/units.ts";
import { run } from "#/tools/run.ts";

const timeoutMs = 3 * MINUTE_MS;

/** A real Ceph cluster of one OSD, on loopback; where it is the caller's own, it is gone when it is disposed of. `ceph-up.sh` tells its pools and users. */
export interface CephCluster extends AsyncDisposable {
  readonly folder: string;
  readonly confPath: string;
  /** Runs `rbd` or `ceph` as the administrator of the cluster; returns what it printed. */
  rbd(...args: string[]): Promise<string>;
  ceph(...args: string[]): Promise<string>;
  /** The process of a daemon, to be stopped and continued. */
  pidOf(daemon: "mon.a" | "osd.0"): Promise<number>;
}

/** A cluster for the caller alone, who may break it. */
export async function startCeph(): Promise<CephCluster> {
  const folder = await mkdtemp(join(tmpdir(), "mica-ceph-"));
  const end = () => endDaemons(folder);
  try {
    await startDaemons(folder);
  } catch (error) {
    await end();
    throw error;
  }
  return clusterIn(folder, end);
}

/**
 * The cluster that the tests of one run share, as long as they leave its daemons alone: scripts/test-real.sh names its folder, and ends it.
 * A test that is run by itself gets one of its own.
 */
export async function sharedCeph(): Promise<CephCluster> {
  const folder = process.env["MICA_TEST_CEPH_DIR"];
  if (!folder) return startCeph();
  const cluster = clusterIn(folder, async () => {});
  const isUp = await cluster.ceph("--connect-timeout", "10", "osd", "stat").then((said) => said.includes("1 up"), () => false);
  if (isUp) await Promise.all(POOLS.map((pool) => emptyPool(cluster, pool)));
  else {
    await endDaemons(folder);
    await startDaemons(folder);
  }
  return cluster;
}

const POOLS = ["images", "volumes", "vms"];

/** What the test before has left would be nobody's to the next one. */
async function emptyPool({ rbd, ceph }: CephCluster, pool: string): Promise<void> {
  const left = (await rbd("ls", pool)) + (await rbd("trash", "ls", "--all", pool));
  if (left.trim() === "") return;
  await ceph("osd", "pool", "rm", pool, pool, "--yes-i-really-really-mean-it");
  await ceph("osd", "pool", "create", pool);
  await rbd("pool", "init", pool);
}

function clusterIn(folder: string, end: () => Promise<void>): CephCluster {
  const confPath = join(folder, "ceph.conf");
  const ask = (program: string) => async (...args: string[]) => (await run(program, ["--conf", confPath, ...args], { timeoutMs })).stdout;
  return {
    folder,
    confPath,
    rbd: ask("rbd"),
    ceph: ask("ceph"),
    pidOf: async (daemon) => Number((await run("cat", [join(folder, "run", `${daemon}.pid`)], { timeoutMs })).stdout),
    [Symbol.asyncDispose]: end,
  };
}

/** The daemons outlive the script: nothing of it may keep our pipes open. */
async function startDaemons(folder: string): Promise<void> {
  await run("bash", [join(import.meta.dirname, "ceph-up.sh"), folder], { timeoutMs });
}

async function endDaemons(folder: string): Promise<void> {
  await run("bash", [join(import.meta.dirname, "ceph-down.sh"), folder], { timeoutMs });
  await rm(folder, { recursive: true, force: true });
}
