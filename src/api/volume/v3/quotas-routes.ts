import Type from "typebox";
import type { Server } from "#/api/server.ts";
import { type QuotaStanding, quotaProject } from "#/app/quotas.ts";
import { AppError } from "#/domain/errors.ts";
import { requireRole } from "#/domain/caller.ts";
import { IdParams } from "./fields.ts";
import { ListQuery } from "./list-query.ts";
import type { VolumeApi } from "./volume-api.ts";

const Limit = Type.Union([Type.Integer({ minimum: -1, maximum: 2 ** 31 - 1 }), Type.String({ pattern: "^(-1|[0-9]{1,9})$" })]);

/** Limits by resource. Clients send null for what they leave alone, and repeat the project or class that the path names. */
const Limits = Type.Unsafe<Record<string, number | string | null>>(
  Type.Object(
    { tenant_id: Type.Optional(Type.String()), class_name: Type.Optional(Type.String()) },
    { additionalProperties: Type.Union([Limit, Type.Null()]) },
  ),
);
const UpdateQuotaSet = Type.Object({ quota_set: Limits });
const UpdateQuotaClassSet = Type.Object({ quota_class_set: Limits });

/** Quota sets of projects: their limits, and with `usage=true` what is used of them. */
export function addQuotaRoutes(app: Server, { quotas }: VolumeApi): void {
  app.get("/os-quota-sets/:id", { schema: { params: IdParams } }, async ({ caller, params, query }) => {
    const withUsage = new ListQuery(query).takeFlag("usage") ?? false;
    requireRole(caller, "reader", "see quotas");
    const standing = await quotas.standing(caller, params.id);
    return { quota_set: { id: params.id, ...quotaSetView(standing, withUsage) } };
  });

  app.get("/os-quota-sets/:id/defaults", { schema: { params: IdParams } }, async ({ caller, params }) => {
    requireRole(caller, "reader", "see quotas");
    return { quota_set: { id: params.id, ...Object.fromEntries(await quotas.defaults()) } };
  });

  app.put("/os-quota-sets/:id", { schema: { params: IdParams, body: UpdateQuotaSet } }, async ({ caller, params, body, query }) => {
    const refuseBelowUse = new ListQuery(query).takeFlag("skip_validation") === false;
    await quotas.set(caller, params.id, limitsIn(body.quota_set), { refuseBelowUse });
    return { quota_set: quotaSetView(await quotas.standing(caller, params.id), false) };
  });

  app.delete("/os-quota-sets/:id", { schema: { params: IdParams } }, async ({ caller, params }, reply) => {
    await quotas.reset(caller, params.id);
    return reply.code(200).send();
  });
}

/** There is one quota class, `default`: the limits of projects that have none of their own. */
export function addQuotaClassRoutes(app: Server, { quotas }: VolumeApi): void {
  app.get("/os-quota-class-sets/:id", { schema: { params: IdParams } }, async ({ caller, params }) => {
    requireRole(caller, "admin", "see quota classes");
    refuseOtherClass(params.id);
    return { quota_class_set: { id: params.id, ...Object.fromEntries(await quotas.defaults()) } };
  });

  app.put("/os-quota-class-sets/:id", { schema: { params: IdParams, body: UpdateQuotaClassSet } }, async ({ caller, params, body }) => {
    refuseOtherClass(params.id);
    await quotas.setDefaults(caller, limitsIn(body.quota_class_set));
    return { quota_class_set: Object.fromEntries(await quotas.defaults()) };
  });
}

/** What a project may have in all, and has; admins may ask for others from 3.39 on. */
export function addLimitRoutes(app: Server, { quotas }: VolumeApi): void {
  app.get("/limits", async ({ caller, query, microversion }) => {
    requireRole(caller, "reader", "see limits");
    const asked = microversion >= 39 ? new ListQuery(query).take("project_id") : undefined;
    const standing = await quotas.standing(caller, quotaProject(caller, asked));
    return { limits: { rate: [], absolute: absoluteLimits(standing) } };
  });
}

function quotaSetView(standing: ReadonlyMap<string, QuotaStanding>, withUsage: boolean): object {
  const view = ({ limit, used }: QuotaStanding) => (withUsage ? { limit, in_use: used, reserved: 0, allocated: 0 } : limit);
  return Object.fromEntries([...standing].map(([resource, quota]) => [resource, view(quota)]));
}

function absoluteLimits(standing: ReadonlyMap<string, QuotaStanding>): object {
  const of = (resource: string) => standing.get(resource) ?? { limit: 0, used: 0 };
  return {
    maxTotalVolumes: of("volumes").limit,
    maxTotalSnapshots: of("snapshots").limit,
    maxTotalVolumeGigabytes: of("gigabytes").limit,
    maxTotalBackups: of("backups").limit,
    maxTotalBackupGigabytes: of("backup_gigabytes").limit,
    totalVolumesUsed: of("volumes").used,
    totalSnapshotsUsed: of("snapshots").used,
    totalGigabytesUsed: of("gigabytes").used,
    totalBackupsUsed: of("backups").used,
    totalBackupGigabytesUsed: of("backup_gigabytes").used,
  };
}

function limitsIn(set: Readonly<Record<string, number | string | null>>): Record<string, number> {
  const { tenant_id: _project, class_name: _class, ...limits } = set;
  return Object.fromEntries(Object.entries(limits).flatMap(([resource, limit]) => (limit === null ? [] : [[resource, Number(limit)]])));
}

function refuseOtherClass(name: string): void {
  if (name !== "default") throw new AppError("not_found", `Quota class ${name} could not be found.`);
}
