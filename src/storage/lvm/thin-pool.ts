import type { LvmConfig } from "#/config/pools/lvm.ts";
import { AppError } from "#/domain/errors.ts";
import type { Capacity } from "#/storage/driver.ts";
import type { LogicalVolume, Lvm, ThinPoolFacts, VolumeGroup } from "#/tools/lvm.ts";

/** Part of the group that a new thin pool takes, as Cinder's does: the rest is for its metadata to grow. */
const POOL_SHARE = "95%FREE";

/** The volume group, and the thin pool that the configuration asks for; without one, disks are thick. */
export interface Place {
  readonly group: VolumeGroup;
  readonly pool?: ThinPoolFacts;
}

/** Finds it, by one call where the thin pool is there. A missing one is made where `isNew`. Errors: `pool_unavailable` with the reason, `pool_full`. */
export async function findPlace(lvm: Lvm, config: LvmConfig, isNew: boolean): Promise<Place> {
  if (config.type === "thick") return { group: await lvm.groupFacts() };
  const name = config.thinPool ?? `${lvm.group}-pool`;
  const there = await lvm.thinPool(name);
  if (there) return usable(lvm, there);
  const group = await lvm.groupFacts();
  if (config.type === "auto" && group.volumeCount > 0) return { group };
  if (isNew) await lvm.change("lvcreate", ["--type", "thin-pool", "-l", POOL_SHARE, "-Zy", "-n", name]);
  const made = isNew ? await lvm.thinPool(name) : undefined;
  if (!made) throw new AppError("pool_unavailable", `volume group "${lvm.group}" has no thin pool "${name}"`);
  return usable(lvm, made);
}

function usable(lvm: Lvm, pool: ThinPoolFacts): Place {
  if (pool.zeroes) return { group: pool.group, pool };
  const fix = `lvchange -Zy ${lvm.group}/${pool.volume.name}`;
  throw new AppError("pool_unavailable", `thin pool "${pool.volume.name}" does not zero its blocks, so disks would show what others deleted: ${fix}`);
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

export function capacityOf({ sizeBytes, dataPercent = 0, metadataPercent = 0 }: LogicalVolume): Capacity {
  return { totalBytes: sizeBytes, freeBytes: Math.floor(sizeBytes * (1 - dataPercent / 100)), metadataPercent };
}
