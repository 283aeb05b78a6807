import { after } from "node:test";
import { KiB } from "#/lib/units.ts";
import { storageDriverContract } from "#/storage/contract.ts";
import type { RbdDriver } from "#/storage/rbd/driver.ts";
import { sharedCeph } from "./support/ceph.ts";
import { rbdPools } from "./support/rbd-pools.ts";

const ceph = await sharedCeph();
after(() => ceph[Symbol.asyncDispose]());
const pools = rbdPools(ceph);

/** Usage is counted in whole objects: with small ones it can be told what sparse disks take. */
const SMALL_OBJECTS = { objectSizeBytes: 64 * KiB };

storageDriverContract("rbd", (): Promise<RbdDriver> => pools.open(SMALL_OBJECTS));
