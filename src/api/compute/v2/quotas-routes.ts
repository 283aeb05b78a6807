import Type, { type Static } from "typebox";
import type { Server } from "#/api/server.ts";
import { parserOf } from "#/api/parse.ts";
import { type QuotaStanding, quotaProject } from "#/app/quotas.ts";
import { requireRole } from "#/domain/caller.ts";
import { AppError } from "#/domain/errors.ts";
import { COMPUTE_QUOTA_RESOURCES, UNLIMITED } from "#/domain/quota.ts";
import { Flag, flag, IdParams } from "./fields.ts";
import { Query, STRICT_QUERIES_SINCE } from "./query.ts";
import { absoluteLimitsView, detailsOf, limitsOf, quotaClassView, quotaSetView } from "./quotas-view.ts";
import type { ComputeApi } from "./compute-api.ts";

const Limit = Type.Union([Type.Integer({ minimum: -1, maximum: 2 ** 31 - 1 }), Type.String({ pattern: "^(-1|[0-9]{1,10})$" }), Type.Null()]);

/** Limits by resource. Clients send null for what they leave alone, and repeat the project or class that the path names. */
const Limits = Type.Object(
  { tenant_id: Type.Optional(Type.String()), class_name: Type.Optional(Type.String()), force: Type.Optional(Flag) },
  { additionalProperties: Limit },
);
const parseQuotaSet = parserOf(Type.Object({ quota_set: Limits }, { additionalProperties: false }));
const parseQuotaClassSet = parserOf(Type.Object({ quota_class_set: Limits }, { additionalProperties: false }));

/** Quota sets of projects. Quotas are per project: those of one user are its project's, and cannot be set. */
export function addQuotaRoutes(app: Server, { quotas }: ComputeApi): void {
  app.get("/os-quota-sets/:id", { schema: { params: IdParams } }, async ({ caller, params, query, microversion }) => {
    requireRole(caller, "reader", "see quotas");
    takeUser(query, microversion);
    const standing = await quotas.standing(caller, params.id);
    return { quota_set: { id: params.id, ...quotaSetView(limitsOf(standing), microversion, UNLIMITED) } };
  });

  app.get("/os-quota-sets/:id/detail", { schema: { params: IdParams } }, async ({ caller, params, query, microversion }) => {
    requireRole(caller, "reader", "see quotas");
    takeUser(query, microversion);
    const details = detailsOf(await quotas.standing(caller, params.id));
    return { quota_set: { id: params.id, ...quotaSetView(details, microversion, { limit: UNLIMITED, in_use: 0, reserved: 0 }) } };
  });

  app.get("/os-quota-sets/:id/defaults", { schema: { params: IdParams } }, async ({ caller, params, microversion }) => {
    requireRole(caller, "reader", "see quotas");
    return { quota_set: { id: params.id, ...quotaSetView(await quotas.defaults(), microversion, UNLIMITED) } };
  });

  app.put("/os-quota-sets/:id", { schema: { params: IdParams } }, async ({ caller, params, body, query, microversion }) => {
    refuseUser(takeUser(query, microversion));
    const { quota_set: set } = parseQuotaSet(body);
    await quotas.set(caller, params.id, limitsIn(set, microversion), { refuseBelowUse: !flag(set.force) });
    return { quota_set: quotaSetView(limitsOf(await quotas.standing(caller, params.id)), microversion, UNLIMITED) };
  });

  app.delete("/os-quota-sets/:id", { schema: { params: IdParams } }, async ({ caller, params, query, microversion }, reply) => {
    refuseUser(takeUser(query, microversion));
    await quotas.reset(caller, params.id);
    return reply.code(202).send();
  });
}

/** There is one quota class, `default`: the limits of projects that have none of their own. */
export function addQuotaClassRoutes(app: Server, { quotas }: ComputeApi): void {
  app.get("/os-quota-class-sets/:id", { schema: { params: IdParams } }, async ({ caller, params, microversion }) => {
    requireRole(caller, "admin", "see quota classes");
    refuseOtherClass(params.id);
    return { quota_class_set: { id: params.id, ...quotaClassView(await quotas.defaults(), microversion) } };
  });

  app.put("/os-quota-class-sets/:id", { schema: { params: IdParams } }, async ({ caller, params, body, microversion }) => {
    refuseOtherClass(params.id);
    await quotas.setDefaults(caller, limitsIn(parseQuotaClassSet(body).quota_class_set, microversion));
    return { quota_class_set: quotaClassView(await quotas.defaults(), microversion) };
  });
}

/** What a project may have in all, and has. */
export function addLimitRoutes(app: Server, { quotas }: ComputeApi): void {
  app.get("/limits", async ({ caller, query, microversion }) => {
    requireRole(caller, "reader", "see limits");
    const asked = new Query(query);
    const project = asked.take("tenant_id");
    asked.take("reserved");
    asked.refuseRest(microversion, STRICT_QUERIES_SINCE);
    const standing: ReadonlyMap<string, QuotaStanding> = await quotas.standing(caller, quotaProject(caller, project));
    return { limits: { rate: [], absolute: absoluteLimitsView(standing, microversion) } };
  });
}

/** What is set for networks, while there are such limits, has no effect. */
function limitsIn({ tenant_id: _, class_name: __, force: ___, ...limits }: Static<typeof Limits>, minor: number): Record<string, number> {
  const given = Object.entries(limits as Record<string, number | string | null>).filter(([, limit]) => limit !== null);
  const known = new Set(Object.keys(quotaSetView(new Map(COMPUTE_QUOTA_RESOURCES.map((resource) => [resource, 0])), minor, 0)));
  const unknown = given.map(([resource]) => resource).filter((resource) => !known.has(resource));
  if (unknown.length > 0) throw new AppError("bad_request", `Additional properties are not allowed (${unknown.join(", ")})`);
  const ours: readonly string[] = COMPUTE_QUOTA_RESOURCES;
  return Object.fromEntries(given.filter(([resource]) => ours.includes(resource)).map(([resource, limit]) => [resource, Number(limit)]));
}

function takeUser(query: unknown, minor: number): string | undefined {
  const asked = new Query(query);
  const user = asked.take("user_id");
  asked.refuseRest(minor, STRICT_QUERIES_SINCE);
  return user;
}

function refuseUser(user: string | undefined): void {
  if (user !== undefined) throw new AppError("bad_request", "Quotas are per project here: those of one user cannot be set.");
}

function refuseOtherClass(name: string): void {
  if (name !== "default") throw new AppError("not_found", `Quota class ${name} could not be found.`);
}
