import Type from "typebox";
import { oneAction, parserOf } from "#/api/parse.ts";
import type { Server } from "#/api/server.ts";
import { type Aggregate, aggregateNotFound, zoneOfAggregate } from "#/domain/aggregate.ts";
import { AppError } from "#/domain/errors.ts";
import { IdParams, strict } from "./fields.ts";
import type { ComputeApi } from "./compute-api.ts";
import { preciseTimeView, updatedView } from "./time.ts";

/** A colon would end the zone in `zone:host`. */
const ZoneName = Type.String({ minLength: 1, maxLength: 255, pattern: "^[^:]*[^:\\s][^:]*$" });
const AggregateName = Type.String({ minLength: 1, maxLength: 255, pattern: "\\S" });
const Zone = Type.Optional(Type.Union([ZoneName, Type.Null()]));

const CreateAggregate = strict({ aggregate: strict({ name: AggregateName, availability_zone: Zone }) });
const UpdateAggregate = strict({
  aggregate: Type.Object({ name: Type.Optional(AggregateName), availability_zone: Zone }, { additionalProperties: false, minProperties: 1 }),
});
const Host = strict({ host: Type.String({ minLength: 1, maxLength: 255 }) });
const parseHost = parserOf(Host);
const parseMetadata = parserOf(
  strict({
    metadata: Type.Record(Type.String({ pattern: "^[a-zA-Z0-9\\-_:. ]{1,255}$" }), Type.Union([Type.String({ maxLength: 255 }), Type.Null()]), {
      additionalProperties: false,
    }),
  }),
);

const CacheImages = strict({ cache: Type.Array(strict({ id: Type.String({ format: "uuid" }) }), { minItems: 1 }) });

export function addAggregateImageRoutes(app: Server, { aggregates, imagePrecaching }: ComputeApi): void {
  app.post("/os-aggregates/:id/images", { config: { since: 81 }, schema: { params: IdParams, body: CacheImages } }, async ({ caller, params, body }, reply) => {
    const ids = body.cache.map(({ id }) => id);
    if (new Set(ids).size < ids.length) throw new AppError("bad_request", "Duplicate images in request");
    const { id, hosts } = await aggregates.get(caller, numberOf(params.id));
    if (hosts.length === 0) throw new AppError("bad_request", `Aggregate ${id} has no hosts.`);
    await imagePrecaching.begin(caller, ids);
    return reply.code(202).send();
  });
}

export function addAggregateRoutes(app: Server, { aggregates }: ComputeApi): void {
  app.get("/os-aggregates", async ({ caller, microversion }) => ({
    aggregates: (await aggregates.list(caller)).map((aggregate) => aggregateView(aggregate, microversion)),
  }));

  /** Nova shows no hosts and no metadata here. */
  app.post("/os-aggregates", { schema: { body: CreateAggregate } }, async ({ caller, body, microversion }) => {
    const { name, availability_zone = null } = body.aggregate;
    const { hosts: _, metadata: __, ...view } = aggregateView(await aggregates.create(caller, { name: name.trim(), zone: availability_zone }), microversion);
    return { aggregate: view };
  });

  app.get("/os-aggregates/:id", { schema: { params: IdParams } }, async ({ caller, params, microversion }) => ({
    aggregate: aggregateView(await aggregates.get(caller, numberOf(params.id)), microversion),
  }));

  app.put("/os-aggregates/:id", { schema: { params: IdParams, body: UpdateAggregate } }, async ({ caller, params, body, microversion }) => {
    const { name, availability_zone } = body.aggregate;
    const changes = { name: name?.trim(), zone: availability_zone };
    return { aggregate: aggregateView(await aggregates.update(caller, numberOf(params.id), changes), microversion) };
  });

  app.delete("/os-aggregates/:id", { schema: { params: IdParams } }, async ({ caller, params }, reply) => {
    await aggregates.remove(caller, numberOf(params.id));
    return reply.code(200).send();
  });

  app.post("/os-aggregates/:id/action", { schema: { params: IdParams } }, async ({ caller, params, body, microversion }) => {
    const [name, argument] = oneAction(body);
    const id = numberOf(params.id);
    const change = {
      add_host: () => aggregates.addHost(caller, id, parseHost(argument).host),
      remove_host: () => aggregates.removeHost(caller, id, parseHost(argument).host),
      set_metadata: () => aggregates.setMetadata(caller, id, parseMetadata(argument).metadata),
    };
    if (!Object.hasOwn(change, name)) throw new AppError("bad_request", `There is no such action: ${name}`);
    return { aggregate: aggregateView(await change[name as keyof typeof change](), microversion) };
  });
}

function aggregateView(aggregate: Aggregate, minor: number) {
  return {
    id: aggregate.id,
    ...(minor >= 41 && { uuid: aggregate.uuid }),
    name: aggregate.name,
    availability_zone: zoneOfAggregate(aggregate),
    hosts: aggregate.hosts,
    metadata: aggregate.metadata,
    created_at: preciseTimeView(aggregate.createdAtMs),
    updated_at: updatedView(aggregate),
    deleted: false,
    deleted_at: null,
  };
}

function numberOf(id: string): number {
  if (!/^\d{1,9}$/.test(id)) throw aggregateNotFound(id);
  return Number(id);
}
