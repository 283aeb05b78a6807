import { DEFAULT_DOMAIN_ID } from "#/app/identity/bootstrap.ts";
import type { UserChanges } from "#/app/identity/users.ts";
import { projectId, userId } from "#/domain/ids.ts";
import type { Server } from "#/api/server.ts";
import { filterOf, pageOf } from "./queries.ts";
import type { IdentityApi } from "./identity-api.ts";
import { ChangePassword, CreateUser, IdPath, ListQuery, UpdateUser, type UserBody } from "./schema.ts";
import { projectView, userView } from "./view.ts";

export function addUserRoutes(app: Server, api: IdentityApi): void {
  addLists(app, api);
  addChanges(app, api);
}

function addLists(app: Server, { identity: { users, projects }, baseUrls }: IdentityApi): void {
  app.get("/v3/users", { schema: { querystring: ListQuery } }, async (request) => {
    const filter = filterOf(request.query);
    const found = await users.list(request.subject, filter);
    return pageOf("users", found, { request, baseUrl: baseUrls.of(request), limit: filter.limit, view: userView });
  });
  app.get("/v3/users/:id", { schema: { params: IdPath } }, async (request) => ({
    user: userView(await users.show(request.subject, userId(request.params.id)), baseUrls.of(request)),
  }));
  app.get("/v3/users/:id/projects", { schema: { params: IdPath, querystring: ListQuery } }, async (request) => {
    const filter = filterOf(request.query);
    const found = await projects.listOf(request.subject, request.params.id, filter);
    return pageOf("projects", found, { request, baseUrl: baseUrls.of(request), limit: filter.limit, view: projectView });
  });
}

function addChanges(app: Server, { identity: { users }, baseUrls }: IdentityApi): void {
  app.post("/v3/users", { schema: { body: CreateUser } }, async (request, reply) => {
    const { name, domain_id, enabled = true } = request.body.user;
    const fields = { ...changesOf(request.body.user), name, enabled, domainId: domain_id ?? DEFAULT_DOMAIN_ID };
    const user = await users.create(request.subject, fields);
    return reply.code(201).send({ user: userView(user, baseUrls.of(request)) });
  });
  app.patch("/v3/users/:id", { schema: { params: IdPath, body: UpdateUser } }, async (request) => {
    const user = await users.update(request.subject, userId(request.params.id), changesOf(request.body.user));
    return { user: userView(user, baseUrls.of(request)) };
  });
  app.post("/v3/users/:id/password", { schema: { params: IdPath, body: ChangePassword } }, async (request, reply) => {
    const { original_password: original, password } = request.body.user;
    await users.changePassword(request.subject, userId(request.params.id), { original, password });
    return reply.code(204).send();
  });
  app.delete("/v3/users/:id", { schema: { params: IdPath } }, async (request, reply) => {
    await users.delete(request.subject, userId(request.params.id));
    return reply.code(204).send();
  });
}

/** The fields that the body has; a null empties those that may be empty. */
function changesOf(body: UserBody): UserChanges {
  const { name, domain_id, default_project_id, description, email, enabled, password } = body;
  return {
    ...(name !== undefined && { name }),
    ...(domain_id && { domainId: domain_id }),
    ...(default_project_id !== undefined && { defaultProjectId: default_project_id === null ? undefined : projectId(default_project_id) }),
    ...(description !== undefined && { description: description ?? undefined }),
    ...(email !== undefined && { email: email ?? undefined }),
    ...(enabled !== undefined && { enabled }),
    ...(password && { password }),
  };
}
