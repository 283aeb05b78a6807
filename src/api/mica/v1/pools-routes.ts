import type { Server } from "#/api/server.ts";
import type { Operations } from "#/app/operations.ts";
import type { PoolAdmin } from "#/app/pool-admin.ts";
import type { PoolState, PoolStates } from "#/app/pool-states.ts";
import { PoolParams, PoolRequest } from "./schema.ts";
import { operationView } from "./view.ts";

interface PoolApi {
  readonly pools: PoolStates;
  readonly poolAdmin: PoolAdmin;
  readonly operations: Operations;
}

/** Pools: how they stand, and, for administrators, how they come, go and are drained. */
export function addPoolRoutes(app: Server, { pools, poolAdmin, operations }: PoolApi): void {
  const one = { schema: { params: PoolParams } };

  app.get("/pools", async ({ caller }) => ({ pools: (await pools.list(caller)).map(poolView) }));

  app.get("/pools/:name", one, async ({ caller, params }) => ({ pool: poolView(await pools.get(caller, params.name)) }));

  app.post("/pools", { schema: { body: PoolRequest } }, async ({ caller, body }, reply) => {
    const { name } = await poolAdmin.add(caller, body.pool);
    return reply.code(201).send({ pool: poolView(await pools.get(caller, name)) });
  });

  app.delete("/pools/:name", one, async ({ caller, params }, reply) => {
    await poolAdmin.remove(caller, params.name);
    return reply.code(204).send();
  });

  for (const [action, drained] of [["drain", true], ["undrain", false]] as const) {
    app.post(`/pools/:name/${action}`, one, async ({ caller, params }) => {
      await poolAdmin.setDrained(caller, params.name, drained);
      return { pool: poolView(await pools.get(caller, params.name)) };
    });
  }

  app.post("/pools/:name/dedup", one, async ({ caller, params }, reply) => {
    const id = await poolAdmin.dedup(caller, params.name);
    return reply.code(202).send({ operation: operationView(await operations.get(caller, id)) });
  });
}

function poolView({ downSinceMs, space, ...rest }: PoolState) {
  const { measuredAtMs, ...sizes } = space ?? {};
  return {
    ...rest,
    ...(downSinceMs !== undefined && { downSince: new Date(downSinceMs).toISOString() }),
    ...(measuredAtMs !== undefined && { space: { ...sizes, measuredAt: new Date(measuredAtMs).toISOString() } }),
  };
}
