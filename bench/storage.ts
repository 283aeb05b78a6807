import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { GiB } from "#/lib/units.ts";
import type { MicaProcess } from "../test/support/mica-process.ts";
import { type CephCluster, startCeph } from "../test/real/support/ceph.ts";
import type { Bed } from "./bed.ts";
import { allocatedBytes, qemuImg } from "./disk.ts";
import { timed } from "./figure.ts";

/** What a measurement runs on: a Mica with its pools, and what the storage's own tools do without Mica. */
export interface BenchStorage {
  readonly mica: MicaProcess;
  /** How long `qemu-img convert` takes from the qcow2 where images are straight into the storage, ms. What it made is gone afterwards. */
  convertAlone(path: string, flags: readonly string[], sizeBytes?: number): Promise<number>;
  /** What volumes and caches take. */
  usedBytes(): Promise<number>;
}

/** `env`: more settings for Mica. */
export type OpenStorage = (bed: Bed, name: string, env?: Record<string, string>) => Promise<BenchStorage>;

const QUIET = { MICA_LOG_LEVEL: "error" };

/** The default pool, in the temporary folder. */
export const onFiles: OpenStorage = async (bed, name, env = {}) => {
  const mica = await bed.mica(name, { env: { ...QUIET, ...env } });
  return {
    mica,
    async convertAlone(path, flags) {
      const folder = join(mica.dataDir, "alone");
      await mkdir(folder, { recursive: true });
      const ms = await timed(() => qemuImg("convert", "-f", "qcow2", "-O", "raw", ...flags, path, join(folder, "disk.raw")));
      await rm(folder, { recursive: true });
      return ms;
    },
    usedBytes: () => allocatedBytes(join(mica.dataDir, "pools/local")),
  };
};

/** Images and volumes in two pools of a Ceph cluster of one OSD, which is started for it. */
export const onRbd: OpenStorage = async (bed, name, env = {}) => {
  const ceph = bed.use(await startCeph());
  const pools = [
    { name: "images", driver: "rbd", roles: ["images"], rbd: { confPath: ceph.confPath, pool: "images" } },
    { name: "volumes", driver: "rbd", roles: ["volumes", "servers", "cache"], rbd: { confPath: ceph.confPath, pool: "volumes" }, overSubscriptionRatioMax: 1000 },
  ];
  const mica = await bed.mica(name, { env: { ...QUIET, ...env, MICA_POOLS: JSON.stringify(pools) } });
  return {
    mica,
    convertAlone: (path, flags, sizeBytes = GiB) => convertIntoRbd(ceph, path, flags, sizeBytes),
    usedBytes: () => usedInRbd(ceph),
  };
};

/**
 * From an image in the same cluster, as Mica does it. Without `-n` qemu-img makes the image itself, and then writes the zeroes too: the fair
 * peer knows that a new image is empty.
 */
async function convertIntoRbd(ceph: CephCluster, path: string, flags: readonly string[], sizeBytes: number): Promise<number> {
  const at = (image: string) => `rbd:${image}:conf=${ceph.confPath}`;
  await ceph.rbd("import", "--no-progress", path, "images/alone");
  const ms = await timed(async () => {
    await ceph.rbd("create", "volumes/alone", "--size", `${sizeBytes}B`);
    await qemuImg("convert", "-f", "qcow2", "-O", "raw", "-n", "--target-is-zero", ...flags, at("images/alone"), at("volumes/alone"));
  });
  for (const image of ["images/alone", "volumes/alone"]) await ceph.rbd("rm", "--no-progress", image);
  return ms;
}

async function usedInRbd(ceph: CephCluster): Promise<number> {
  const { images } = JSON.parse(await ceph.rbd("du", "--pool", "volumes", "--format", "json"));
  return images.reduce((sum: number, { used_size: bytes }: { used_size: number }) => sum + bytes, 0);
}
