import { DEFAULT_DOMAIN_ID } from "#/app/identity/bootstrap.ts";
import type { Project } from "#/domain/identity.ts";
import { projectId } from "#/domain/ids.ts";
import type { Server } from "#/api/server.ts";
import { filterOf, pageOf } from "./queries.ts";
import type { IdentityApi } from "./identity-api.ts";
import { CreateProject, IdPath, ListQuery, type ProjectBody, UpdateProject } from "./schema.ts";
import { projectView } from "./view.ts";

export function addProjectRoutes(app: Server, { identity: { projects }, baseUrls }: IdentityApi): void {
  app.post("/v3/projects", { schema: { body: CreateProject } }, async (request, reply) => {
    const { name, domain_id, enabled = true } = request.body.project;
    const { description = "", parentId } = changesOf(request.body.project);
    const project = await projects.create(request.subject, {
      name,
      description,
      enabled,
      parentId,
      domainId: domain_id ?? DEFAULT_DOMAIN_ID,
    });
    return reply.code(201).send({ project: projectView(project, baseUrls.of(request)) });
  });
  app.get("/v3/projects", { schema: { querystring: ListQuery } }, async (request) => {
    const filter = filterOf(request.query);
    const found = await projects.list(request.subject, filter);
    return pageOf("projects", found, { request, baseUrl: baseUrls.of(request), limit: filter.limit, view: projectView });
  });
  app.get("/v3/projects/:id", { schema: { params: IdPath } }, async (request) => ({
    project: projectView(await projects.show(request.subject, projectId(request.params.id)), baseUrls.of(request)),
  }));
  app.patch("/v3/projects/:id", { schema: { params: IdPath, body: UpdateProject } }, async (request) => {
    const project = await projects.update(request.subject, projectId(request.params.id), changesOf(request.body.project));
    return { project: projectView(project, baseUrls.of(request)) };
  });
  app.delete("/v3/projects/:id", { schema: { params: IdPath } }, async (request, reply) => {
    await projects.delete(request.subject, projectId(request.params.id));
    return reply.code(204).send();
  });
}

/** The fields that the body has; a null is as good as none, but for the description, which it empties. */
function changesOf({ name, domain_id, parent_id, description, enabled }: ProjectBody): Partial<Omit<Project, "id">> {
  return {
    ...(name !== undefined && { name }),
    ...(domain_id && { domainId: domain_id }),
    ...(parent_id && { parentId: projectId(parent_id) }),
    ...(description !== undefined && { description: description ?? "" }),
    ...(enabled !== undefined && { enabled }),
  };
}
