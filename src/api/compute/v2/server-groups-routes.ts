import Type from "typebox";
import { parserOf } from "#/api/parse.ts";
import type { Server } from "#/api/server.ts";
import type { NewServerGroup, ServerGroupWithMembers } from "#/app/server-groups.ts";
import { AppError } from "#/domain/errors.ts";
import { SERVER_GROUP_POLICIES } from "#/domain/server-group.ts";
import { count, IdParams, Name, strict } from "./fields.ts";
import { Query, STRICT_QUERIES_SINCE } from "./query.ts";
import type { ComputeApi } from "./compute-api.ts";

/** nova/api/openstack/compute/schemas/server_groups.py: one policy in a list before 2.64, soft ones since 2.15. */
const oldBody = (policies: readonly (typeof SERVER_GROUP_POLICIES)[number][]) =>
  parserOf(strict({ server_group: strict({ name: Name, policies: Type.Array(Type.Enum([...policies]), { minItems: 1, maxItems: 1 }) }) }));
const create_2_1 = oldBody(["affinity", "anti-affinity"]);
const create_2_15 = oldBody(SERVER_GROUP_POLICIES);
const create_2_64 = parserOf(
  strict({
    server_group: strict({ name: Name, policy: Type.Enum([...SERVER_GROUP_POLICIES]), rules: Type.Optional(strict({ max_server_per_host: Type.Optional(count(1)) })) }),
  }),
);

export function addServerGroupRoutes(app: Server, { serverGroups, limitMax }: ComputeApi): void {
  app.get("/os-server-groups", async ({ caller, query: received, microversion }) => {
    const query = new Query(received);
    const limit = Math.min(query.takeCount("limit") ?? limitMax, limitMax);
    const page = { limit, offset: query.takeCount("offset") ?? 0, allProjects: query.takeAll("all_projects").length > 0 };
    query.refuseRest(microversion, STRICT_QUERIES_SINCE);
    return { server_groups: (await serverGroups.list(caller, page)).map((group) => groupView(group, microversion)) };
  });

  app.post("/os-server-groups", async ({ caller, body, microversion }) => ({
    server_group: groupView(await serverGroups.create(caller, newGroup(microversion, body)), microversion),
  }));

  app.get("/os-server-groups/:id", { schema: { params: IdParams } }, async ({ caller, params, microversion }) => ({
    server_group: groupView(await serverGroups.get(caller, params.id), microversion),
  }));

  app.delete("/os-server-groups/:id", { schema: { params: IdParams } }, async ({ caller, params }, reply) => {
    await serverGroups.remove(caller, params.id);
    return reply.code(204).send();
  });
}

function newGroup(minor: number, body: unknown): NewServerGroup {
  if (minor < 64) {
    const { name, policies } = (minor < 15 ? create_2_1 : create_2_15)(body).server_group;
    return { name: name.trim(), policy: policies[0] ?? "affinity", serversPerHostMax: null };
  }
  const { name, policy, rules = {} } = create_2_64(body).server_group;
  const max = rules.max_server_per_host;
  if (policy !== "anti-affinity" && max !== undefined) throw new AppError("bad_request", "Only anti-affinity policy supports rules.");
  return { name: name.trim(), policy, serversPerHostMax: max === undefined ? null : Number(max) };
}

function groupView({ id, name, policy, serversPerHostMax, members, projectId, userId }: ServerGroupWithMembers, minor: number): object {
  const owner = minor >= 13 ? { project_id: projectId, user_id: userId } : {};
  if (minor < 64) return { id, name, policies: [policy], members, metadata: {}, ...owner };
  return { id, name, policy, rules: serversPerHostMax === null ? {} : { max_server_per_host: serversPerHostMax }, members, ...owner };
}
