import type { Server } from "#/api/server.ts";
import { filterOf, pageOf } from "./queries.ts";
import type { IdentityApi } from "./identity-api.ts";
import { CreateDomain, IdPath, ListQuery, UpdateDomain } from "./schema.ts";
import { domainView } from "./view.ts";

export function addDomainRoutes(app: Server, { identity: { domains }, baseUrls }: IdentityApi): void {
  app.post("/v3/domains", { schema: { body: CreateDomain } }, async (request, reply) => {
    const { name, description, enabled = true } = request.body.domain;
    const domain = await domains.create(request.subject, { name, description: description ?? "", enabled });
    return reply.code(201).send({ domain: domainView(domain, baseUrls.of(request)) });
  });
  app.get("/v3/domains", { schema: { querystring: ListQuery } }, async (request) => {
    const filter = filterOf(request.query);
    const found = await domains.list(request.subject, filter);
    return pageOf("domains", found, { request, baseUrl: baseUrls.of(request), limit: filter.limit, view: domainView });
  });
  app.get("/v3/domains/:id", { schema: { params: IdPath } }, async (request) => ({
    domain: domainView(await domains.show(request.subject, request.params.id), baseUrls.of(request)),
  }));
  app.patch("/v3/domains/:id", { schema: { params: IdPath, body: UpdateDomain } }, async (request) => {
    const { name, description, enabled } = request.body.domain;
    const changes = {
      ...(name !== undefined && { name }),
      ...(description !== undefined && { description: description ?? "" }),
      ...(enabled !== undefined && { enabled }),
    };
    return { domain: domainView(await domains.update(request.subject, request.params.id, changes), baseUrls.of(request)) };
  });
  app.delete("/v3/domains/:id", { schema: { params: IdPath } }, async (request, reply) => {
    await domains.delete(request.subject, request.params.id);
    return reply.code(204).send();
  });
}
