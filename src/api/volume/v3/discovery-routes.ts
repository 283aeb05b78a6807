import Type from "typebox";
import type { Server } from "#/api/server.ts";
import { requireRole } from "#/domain/caller.ts";
import { AppError } from "#/domain/errors.ts";
import { EXTENSIONS } from "./extensions.ts";
import { ListQuery } from "./list-query.ts";
import { MESSAGE_FILTERS } from "./messages-routes.ts";
import { POOL_FILTERS } from "./pools-routes.ts";
import { SNAPSHOT_FILTERS } from "./snapshots-filter.ts";
import { VOLUME_TYPE_FILTERS } from "./types-routes.ts";
import { VOLUME_FILTERS } from "./volumes-filter.ts";

const FILTERS: Readonly<Record<string, readonly string[]>> = {
  volume: VOLUME_FILTERS,
  snapshot: SNAPSHOT_FILTERS,
  message: MESSAGE_FILTERS,
  pool: POOL_FILTERS,
  volume_type: VOLUME_TYPE_FILTERS,
};

/** What the API itself has: extensions, and the filters of its lists. */
export function addDiscoveryRoutes(app: Server): void {
  app.get("/extensions", async ({ caller }) => {
    requireRole(caller, "reader", "see extensions");
    return { extensions: EXTENSIONS };
  });

  app.get("/extensions/:alias", { schema: { params: Type.Object({ alias: Type.String() }) } }, async ({ caller, params }) => {
    requireRole(caller, "reader", "see extensions");
    const extension = EXTENSIONS.find(({ alias }) => alias === params.alias);
    if (!extension) throw new AppError("not_found", `There is no extension ${params.alias}.`);
    return { extension };
  });

  app.get("/resource_filters", { config: { since: 33 } }, async ({ caller, query }) => {
    requireRole(caller, "reader", "see filters");
    const asked = new ListQuery(query).take("resource");
    const resources = Object.entries(FILTERS).filter(([resource]) => (asked ?? resource) === resource);
    return { resource_filters: resources.map(([resource, filters]) => ({ resource, filters })) };
  });
}
