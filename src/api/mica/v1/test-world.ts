import type { Server } from "#/api/server.ts";
import { Audits } from "#/app/audits.ts";
import type { BlockStorage } from "#/app/block-storage.ts";
import type { AppContext } from "#/app/context.ts";
import { DiskMaps } from "#/app/disk-maps.ts";
import { Lineages } from "#/app/lineage.ts";
import { Operations } from "#/app/operations.ts";
import { PoolAdmin } from "#/app/pool-admin.ts";
import { PoolStates } from "#/app/pool-states.ts";
import { registerMica } from "./routes.ts";

/** Mica's own calls, beside the APIs of a test's world; no pool is added there. */
export function mountMica(app: Server, context: AppContext, storage: BlockStorage): void {
  registerMica(app, {
    plans: storage.plans,
    captures: storage.captures,
    operations: new Operations(context),
    pools: new PoolStates(context),
    poolAdmin: new PoolAdmin(context, () => Promise.reject(new Error("No pool is added here."))),
    lineages: new Lineages(context),
    audits: new Audits(context),
    maps: new DiskMaps(context, storage),
  });
}
