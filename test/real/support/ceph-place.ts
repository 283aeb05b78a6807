import { randomUUID } from "node:crypto";
import type { CephCluster } from "./ceph.ts";

/** Where Mica can be started, on a cluster that others end. */
export interface CephPlace extends AsyncDisposable {
  readonly env: { readonly MICA_POOLS: string };
}

/** Two pools in fresh namespaces. `ownUsers`: as Glance and Cinder are set up, where each may write only to its own. */
export async function freshPools(ceph: CephCluster, { ownUsers }: { ownUsers: boolean }): Promise<CephPlace> {
  const namespace = randomUUID();
  for (const pool of ["images", "volumes"]) await ceph.rbd("namespace", "create", `${pool}/${namespace}`);
  const section = (pool: string) => ({ confPath: ceph.confPath, pool, namespace, user: ownUsers ? pool : "admin" });
  const pools = [
    { name: "volumes", driver: "rbd", rbd: section("volumes"), roles: ["volumes", "images", "cache"] },
    { name: "images", driver: "rbd", rbd: section("images"), roles: ["images"] },
  ];
  return { env: { MICA_POOLS: JSON.stringify(pools) }, async [Symbol.asyncDispose]() {} };
}
