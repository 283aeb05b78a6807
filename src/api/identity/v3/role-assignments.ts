import { type Static, Type } from "typebox";
import type { AssignmentTarget } from "#/domain/identity.ts";
import { projectId, userId } from "#/domain/ids.ts";
import type { Server } from "#/api/server.ts";
import { flag, LIST_MAX } from "./queries.ts";
import type { IdentityApi } from "./identity-api.ts";
import { RoleAssignmentQuery } from "./schema.ts";
import { linkTo, listOf, roleAssignmentView, roleView } from "./view.ts";

const UserPath = Type.Object({ target: Type.Optional(Type.String()), user: Type.String() });
const RolePath = Type.Object({ target: Type.Optional(Type.String()), user: Type.String(), role: Type.String() });

/** Roles are given on projects, on domains, and on the system, with the same calls under three paths. */
const PLACES = {
  project: "/v3/projects/:target",
  domain: "/v3/domains/:target",
  system: "/v3/system",
} as const satisfies Record<AssignmentTarget["kind"], string>;

export function addRoleAssignmentRoutes(app: Server, api: IdentityApi): void {
  addList(app, api);
  for (const kind of ["project", "domain", "system"] as const) addPlace(app, api, kind);
}

function addList(app: Server, { identity, baseUrls }: IdentityApi): void {
  app.get("/v3/role_assignments", { schema: { querystring: RoleAssignmentQuery } }, async (request) => {
    const { query } = request;
    const baseUrl = baseUrls.of(request);
    const found = await identity.roleAssignments.list(request.subject, filterOf(query));
    const shown = query["group.id"] === undefined ? found : []; // There are no groups.
    const views = shown.map((assignment) => roleAssignmentView(assignment, { baseUrl, includeNames: flag(query.include_names) }));
    return listOf("role_assignments", views, { ...linkTo(baseUrl, "role_assignments"), next: null });
  });
}

function addPlace(app: Server, { identity: { roleAssignments }, baseUrls }: IdentityApi, kind: AssignmentTarget["kind"]): void {
  const roles = `${PLACES[kind]}/users/:user/roles`;
  const schema = { params: RolePath };
  app.get(roles, { schema: { params: UserPath } }, async (request) => {
    const { user, target } = request.params;
    const baseUrl = baseUrls.of(request);
    const found = await roleAssignments.listFor(request.subject, userId(user), targetOf(kind, target));
    return listOf(
      "roles",
      found.map((role) => roleView(role, baseUrl)),
      { ...linkTo(baseUrl, request.url.replace("/identity/v3/", "")), next: null },
    );
  });
  app.put(`${roles}/:role`, { schema }, async (request, reply) => {
    await roleAssignments.add(request.subject, assignmentOf(kind, request.params));
    return reply.code(204).send();
  });
  app.route({
    method: ["GET", "HEAD"],
    url: `${roles}/:role`,
    schema,
    handler: async (request, reply) => {
      await roleAssignments.check(request.subject, assignmentOf(kind, request.params));
      return reply.code(204).send();
    },
  });
  app.delete(`${roles}/:role`, { schema }, async (request, reply) => {
    await roleAssignments.remove(request.subject, assignmentOf(kind, request.params));
    return reply.code(204).send();
  });
}

function assignmentOf(kind: AssignmentTarget["kind"], { user, role, target }: Static<typeof RolePath>) {
  return { userId: userId(user), roleId: role, target: targetOf(kind, target) };
}

function targetOf(kind: AssignmentTarget["kind"], id = ""): AssignmentTarget {
  if (kind === "system") return { kind };
  return kind === "project" ? { kind, projectId: projectId(id) } : { kind, domainId: id };
}

function filterOf(query: RoleAssignmentQuery) {
  return {
    userId: query["user.id"],
    roleId: query["role.id"],
    projectId: query["scope.project.id"],
    domainId: query["scope.domain.id"],
    system: query["scope.system"] !== undefined,
    effective: flag(query.effective),
    limit: LIST_MAX,
  };
}
