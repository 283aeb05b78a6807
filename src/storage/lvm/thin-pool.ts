import type { LvmConfig } from "#/config/pools/lvm.ts";
import { AppError } from "#/domain/errors.ts";
import type { Capacity } from "#/storage/driver.ts";
import type { LogicalVolume, Lvm, ThinPoolFacts, VolumeGroup } from "#/tools/lvm.ts";

/** Part of the group that a new thin pool takes, as Cinder's does: the rest is for its metadata to grow. */
const POOL_SHARE = "95%FREE";

/**
 * The thin pool that the configuration asks for; undefined where disks are to be thick. A missing one is made where `isNew`.
 * Errors: `pool_unavailable` with the reason, `pool_full`.
 */
export async function openThinPool(lvm: Lvm, config: LvmConfig, facts: VolumeGroup, isNew: boolean): Promise<ThinPoolFacts | undefined> {
  if (config.type === "thick") return undefined;
  const name = config.thinPool ?? `${lvm.group}-pool`;
  let pool = await lvm.thinPool(name);
  if (!pool && config.type === "auto" && facts.volumeCount > 0) return undefined;
  if (!pool && isNew) {
    await lvm.change("lvcreate", ["--type", "thin-pool", "-l", POOL_SHARE, "-Zy", "-n", name]);
    pool = await lvm.thinPool(name);
  }
  if (!pool) throw new AppError("pool_unavailable", `volume group "${lvm.group}" has no thin pool "${name}"`);
  if (!pool.zeroes) {
    const fix = `lvchange -Zy ${lvm.group}/${name}`;
    throw new AppError("pool_unavailable", `thin pool "${name}" does not zero its blocks, so disks would show what others deleted: ${fix}`);
  }
  return pool;
}

/** Throws `pool_full` where the pool has too little left for more disks; `pool_unavailable` where something is wrong with it. */
export function requireRoom(group: string, pool: LogicalVolume, limits: Pick<LvmConfig, "thinDataPercentMax" | "thinMetadataPercentMax">): void {
  const path = `${group}/${pool.name}`;
  if (pool.health !== "" && pool.health !== "out_of_data") throw new AppError("pool_unavailable", `thin pool ${path} is ill: ${pool.health}`);
  const refuse = (what: string, percent: number, max: number, fix: string) => {
    throw new AppError("pool_full", `thin pool ${path} has ${percent} % of its ${what} in use, and new disks end at ${max} %: ${fix}`);
  };
  const { dataPercent = 0, metadataPercent = 0 } = pool;
  const { thinDataPercentMax, thinMetadataPercentMax } = limits;
  if (dataPercent > thinDataPercentMax) refuse("data space", dataPercent, thinDataPercentMax, `lvextend -L +SIZE ${path}`);
  if (metadataPercent > thinMetadataPercentMax) {
    refuse("metadata space", metadataPercent, thinMetadataPercentMax, `lvextend --poolmetadatasize +SIZE ${path}`);
  }
}

export function capacityOf({ sizeBytes, dataPercent = 0 }: LogicalVolume): Capacity {
  return { totalBytes: sizeBytes, freeBytes: Math.floor(sizeBytes * (1 - dataPercent / 100)) };
}
