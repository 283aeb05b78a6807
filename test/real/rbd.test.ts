import { after, before } from "node:test";
import { KiB } from "#/lib/units.ts";
import { storageDriverContract } from "#/storage/contract.ts";
import type { RbdDriver } from "#/storage/rbd/driver.ts";
import { type CephCluster, startCeph } from "./support/ceph.ts";
import { type RbdPools, rbdPools } from "./support/rbd-pools.ts";

let ceph: CephCluster;
let pools: RbdPools;

before(async () => {
  ceph = await startCeph();
  pools = rbdPools(ceph);
});
after(() => ceph?.[Symbol.asyncDispose]());

/** Usage is counted in whole objects: with small ones it can be told what sparse disks take. */
const SMALL_OBJECTS = { objectSizeBytes: 64 * KiB };

storageDriverContract("rbd", (): Promise<RbdDriver> => pools.open(SMALL_OBJECTS));
