import type { FastifyReply } from "fastify";
import type { Server } from "#/api/server.ts";
import type { DiskMaps } from "#/app/disk-maps.ts";
import { ChangesQuery, ExtentsQuery, MappedParams } from "./schema.ts";

/** Parts of a map without `limit`. */
const LIMIT_DEFAULT = 1000;

/** Where the disks of images, volumes and snapshots hold data, and what of them has changed. */
export function addMapRoutes(app: Server, maps: DiskMaps): void {
  for (const kind of ["image", "volume", "snapshot"] as const) {
    app.get(`/${kind}s/:id/extents`, { schema: { params: MappedParams, querystring: ExtentsQuery } }, async ({ caller, params, query }, reply) => {
      const page = { limit: LIMIT_DEFAULT, offset: 0, ...query };
      return { extents: await maps.extents(caller, { kind, id: params.id }, page, goneSignal(reply)) };
    });

    app.get(`/${kind}s/:id/changes`, { schema: { params: MappedParams, querystring: ChangesQuery } }, async ({ caller, params, query }, reply) => {
      const { since, ...part } = query;
      const page = { limit: LIMIT_DEFAULT, offset: 0, ...part };
      return { changes: await maps.changes(caller, { kind, id: params.id }, since, page, goneSignal(reply)) };
    });
  }
}

/** Ends the work when nobody waits for it any more. */
function goneSignal(reply: FastifyReply): AbortSignal {
  const gone = new AbortController();
  reply.raw.once("close", () => gone.abort());
  return gone.signal;
}
