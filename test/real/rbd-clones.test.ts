import { after, describe } from "node:test";
import { KiB } from "#/lib/units.ts";
import { contractOfCloning } from "#/storage/contract/cloning.ts";
import { neighboursContract } from "#/storage/contract/neighbours.ts";
import { contractOfSnapshots } from "#/storage/contract/snapshots.ts";
import { sharedCeph } from "./support/ceph.ts";
import { rbdPools } from "./support/rbd-pools.ts";

const ceph = await sharedCeph();
after(() => ceph[Symbol.asyncDispose]());
const pools = rbdPools(ceph);

const SMALL_OBJECTS = { objectSizeBytes: 64 * KiB };

neighboursContract("rbd", async () => {
  const [from, to] = [await pools.open({ ...SMALL_OBJECTS, pool: "images" }), await pools.open(SMALL_OBJECTS)];
  return { from, to, [Symbol.asyncDispose]: async () => void (await Promise.all([from, to].map((pool) => pool[Symbol.asyncDispose]()))) };
});

describe("rbd with clones of format 1 keeps what the contract says of them", () => {
  const openDriver = () => pools.open({ ...SMALL_OBJECTS, cloneFormat: 1 });
  contractOfCloning(openDriver);
  contractOfSnapshots(openDriver);
});
