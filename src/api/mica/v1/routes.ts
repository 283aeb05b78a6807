import { PassThrough } from "node:stream";
import { type Server, useFaultShape } from "#/api/server.ts";
import { micaFault } from "#/api/fault-shapes.ts";
import type { Audits } from "#/app/audits.ts";
import type { DiskMaps } from "#/app/disk-maps.ts";
import type { Lineages } from "#/app/lineage.ts";
import type { Operation, Operations } from "#/app/operations.ts";
import type { Plans } from "#/app/plans.ts";
import type { PoolAdmin } from "#/app/pool-admin.ts";
import type { PoolStates } from "#/app/pool-states.ts";
import type { ServerCaptures } from "#/app/server-captures.ts";
import { LineageQuery, ListOperationsQuery, OperationParams, PlanRequest, ServerParams } from "./schema.ts";
import { addMapRoutes } from "./maps-routes.ts";
import { addPoolRoutes } from "./pools-routes.ts";
import { capturesView, operationView } from "./view.ts";

/** A page without `limit`. */
const LIMIT_DEFAULT = 25;
/** A line now and then keeps proxies from closing a quiet stream, and shows us a client that is gone. */
const KEEPALIVE_MS = 15_000;

export interface MicaApi {
  readonly plans: Plans;
  readonly captures: ServerCaptures;
  readonly operations: Operations;
  readonly pools: PoolStates;
  readonly poolAdmin: PoolAdmin;
  readonly lineages: Lineages;
  readonly audits: Audits;
  readonly maps: DiskMaps;
}

/** Mica's own API under `/mica/v1`: plans, ways to make images of servers, operations with live progress, pools, lineage, audit, maps of disks. */
export function registerMica(app: Server, api: MicaApi): void {
  app.register(async (scope: Server) => addRoutes(scope, api), { prefix: "/mica/v1" });
}

function addRoutes(app: Server, { plans, captures, operations, pools, poolAdmin, lineages, audits, maps }: MicaApi): void {
  useFaultShape(app, micaFault);

  app.post("/plans", { schema: { body: PlanRequest } }, async ({ caller, body }) => ({ plan: await plans.plan(caller, body) }));

  app.get("/servers/:id/captures", { schema: { params: ServerParams } }, async ({ caller, params }) => ({ captures: capturesView(await captures.explain(caller, params.id)) }));

  app.get("/operations", { schema: { querystring: ListOperationsQuery } }, async ({ caller, query }) => {
    const limit = query.limit ?? LIMIT_DEFAULT;
    const page = await operations.list(caller, { limit, marker: query.marker, subjectId: query.subject, state: query.state });
    const next = page.length === limit ? page.at(-1)?.id : undefined;
    return { operations: page.map(operationView), ...(next && { next }) };
  });

  app.get("/operations/:id", { schema: { params: OperationParams } }, async ({ caller, params }) => ({
    operation: operationView(await operations.get(caller, params.id)),
  }));

  app.post("/operations/:id/cancel", { schema: { params: OperationParams } }, async ({ caller, params }, reply) => {
    await operations.cancel(caller, params.id);
    return reply.code(202).send({ operation: operationView(await operations.get(caller, params.id)) });
  });

  app.get("/operations/:id/events", { schema: { params: OperationParams } }, async ({ caller, params, raw }, reply) => {
    await operations.get(caller, params.id);
    const gone = new AbortController();
    raw.on("close", () => gone.abort());
    const stream = new PassThrough();
    void sendEvents(stream, operations.follow(caller, params.id, gone.signal));
    return reply.header("content-type", "text/event-stream").header("cache-control", "no-store").send(stream);
  });

  addPoolRoutes(app, { pools, poolAdmin, operations });
  addMapRoutes(app, maps);

  app.get("/lineage", { schema: { querystring: LineageQuery } }, async ({ caller, query }) => {
    const [[kind, id]] = Object.entries(query) as [["disk" | "image" | "volume" | "snapshot", string]];
    return { lineage: await lineages.of(caller, { kind, id }) };
  });

  app.get("/audit", async ({ caller }) => audits.run(caller));
}

/** Server-sent events: each one the operation as it is now. */
async function sendEvents(stream: PassThrough, states: AsyncGenerator<Operation>): Promise<void> {
  const keepalive = setInterval(() => stream.write(": still here\n\n"), KEEPALIVE_MS);
  try {
    for await (const operation of states) stream.write(`data: ${JSON.stringify(operationView(operation))}\n\n`);
    stream.end();
  } catch (error) {
    stream.destroy(error as Error);
  } finally {
    clearInterval(keepalive);
  }
}

