import type { Server } from "#/api/server.ts";
import { filterOf, pageOf } from "./queries.ts";
import type { IdentityApi } from "./identity-api.ts";
import { CreateRole, IdPath, ListQuery, UpdateRole } from "./schema.ts";
import { roleView } from "./view.ts";

export function addRoleRoutes(app: Server, { identity: { roles }, baseUrls }: IdentityApi): void {
  app.post("/v3/roles", { schema: { body: CreateRole } }, async (request, reply) => {
    const { name, description } = request.body.role;
    const role = await roles.create(request.subject, { name, description: description ?? undefined });
    return reply.code(201).send({ role: roleView(role, baseUrls.of(request)) });
  });
  app.get("/v3/roles", { schema: { querystring: ListQuery } }, async (request) => {
    const filter = filterOf(request.query);
    return pageOf("roles", await roles.list(filter), { request, baseUrl: baseUrls.of(request), limit: filter.limit, view: roleView });
  });
  app.get("/v3/roles/:id", { schema: { params: IdPath } }, async (request) => ({
    role: roleView(await roles.show(request.params.id), baseUrls.of(request)),
  }));
  app.patch("/v3/roles/:id", { schema: { params: IdPath, body: UpdateRole } }, async (request) => {
    const { name, description } = request.body.role;
    const changes = { ...(name !== undefined && { name }), ...(description !== undefined && { description: description ?? undefined }) };
    return { role: roleView(await roles.update(request.subject, request.params.id, changes), baseUrls.of(request)) };
  });
  app.delete("/v3/roles/:id", { schema: { params: IdPath } }, async (request, reply) => {
    await roles.delete(request.subject, request.params.id);
    return reply.code(204).send();
  });
}
