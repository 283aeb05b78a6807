import { after, before, describe } from "node:test";
import { storageDriverContract } from "#/storage/contract.ts";
import { type CephCluster, startCeph } from "./support/ceph.ts";
import { type RbdPools, rbdPools } from "./support/rbd-pools.ts";

let ceph: CephCluster;
let pools: RbdPools;

before(async () => {
  ceph = await startCeph();
  pools = rbdPools(ceph);
});
after(() => ceph?.[Symbol.asyncDispose]());

for (const cloneFormat of [2, 1]) {
  // Usage is counted in whole objects: with small ones it can be told what sparse disks take.
  storageDriverContract(`rbd with clones of format ${cloneFormat}`, () => pools.open({ cloneFormat, objectSizeBytes: 64 * 1024 }));
}
