import type { FastifyRequest } from "fastify";
import type { LoginRequest, Proof, RequestedScope, UserReference } from "#/app/identity/login.ts";
import type { DomainReference } from "#/app/identity/references.ts";
import { AppError } from "#/domain/errors.ts";
import type { Subject } from "#/domain/identity.ts";
import { projectId, userId } from "#/domain/ids.ts";
import type { Server } from "#/api/server.ts";
import { flag, LIST_MAX } from "./queries.ts";
import type { IdentityApi } from "./identity-api.ts";
import { AuthRequest, CatalogQuery, type DomainReference as DomainBody, type UserReference as UserBody } from "./schema.ts";
import { catalogView, domainView, linkTo, listOf, projectView, tokenView } from "./view.ts";

/** `/v3/auth`: tokens, and what they can be scoped to. */
export function addTokenRoutes(app: Server, api: IdentityApi): void {
  addLogin(app, api);
  addSubjectTokens(app, api);
  addScopes(app, api);
}

function addLogin(app: Server, { identity, baseUrls }: IdentityApi): void {
  const schema = { body: AuthRequest, querystring: CatalogQuery };
  app.post("/v3/auth/tokens", { schema, config: { public: true } }, async (request, reply) => {
    const { text, subject } = await identity.login.issue(loginRequestOf(request.body, request.ip));
    const catalog = catalogFor(subject, request.query, baseUrls.of(request));
    return reply.code(201).header("x-subject-token", text).header("vary", "X-Auth-Token").send(tokenView(subject, catalog));
  });
}

/** Calls about the token in X-Subject-Token, by the bearer of the one in X-Auth-Token. */
function addSubjectTokens(app: Server, { identity, baseUrls }: IdentityApi): void {
  app.route({
    method: ["GET", "HEAD"],
    url: "/v3/auth/tokens",
    schema: { querystring: CatalogQuery },
    handler: async (request, reply) => {
      const text = subjectTokenOf(request);
      const subject = await identity.tokens.show(request.subject, text);
      const catalog = catalogFor(subject, request.query, baseUrls.of(request));
      return reply.header("x-subject-token", text).header("vary", "X-Auth-Token").send(tokenView(subject, catalog));
    },
  });
  app.delete("/v3/auth/tokens", async (request, reply) => {
    await identity.tokens.revoke(request.subject, subjectTokenOf(request));
    return reply.code(204).send();
  });
}

/** What the token's user could scope a token to; the catalog of the present one. */
function addScopes(app: Server, { identity, baseUrls }: IdentityApi): void {
  app.get("/v3/auth/projects", async (request) => {
    const baseUrl = baseUrls.of(request);
    const projects = await identity.projects.listOf(request.subject, request.subject.user.id, { enabled: true, limit: LIST_MAX });
    return listOf(
      "projects",
      projects.map((project) => projectView(project, baseUrl)),
      { ...linkTo(baseUrl, "auth/projects"), next: null },
    );
  });
  app.get("/v3/auth/domains", async (request) => {
    const baseUrl = baseUrls.of(request);
    const domains = await identity.domains.listOwn(request.subject);
    return listOf(
      "domains",
      domains.map((domain) => domainView(domain, baseUrl)),
      { ...linkTo(baseUrl, "auth/domains"), next: null },
    );
  });
  app.get("/v3/auth/system", async (request) => {
    const roles = await identity.roleAssignments.listOwn(request.subject, { kind: "system" });
    return { system: roles.length > 0 ? [{ all: true }] : [], links: linkTo(baseUrls.of(request), "auth/system") };
  });
  app.get("/v3/auth/catalog", async (request) => {
    if (request.subject.scope.kind === "unscoped") throw new AppError("forbidden", "An unscoped token has no catalog.");
    const baseUrl = baseUrls.of(request);
    return { catalog: catalogView(request.subject, baseUrl), links: linkTo(baseUrl, "auth/catalog") };
  });
}

function catalogFor(subject: Subject, { nocatalog }: { nocatalog?: string }, baseUrl: string): object[] | undefined {
  return flag(nocatalog) ? undefined : catalogView(subject, baseUrl);
}

function subjectTokenOf(request: FastifyRequest): string {
  const text = request.headers["x-subject-token"];
  if (typeof text !== "string" || text === "") throw new AppError("bad_request", "The header X-Subject-Token must name a token.");
  return text;
}

function loginRequestOf({ auth: { identity, scope } }: AuthRequest, address: string): LoginRequest {
  const proofs = [...new Set(identity.methods)].map((method) => proofOf(method, identity));
  return { proofs, address, ...(scope !== undefined && { scope: scopeOf(scope) }) };
}

function proofOf(method: string, identity: AuthRequest["auth"]["identity"]): Proof {
  const { password, token, application_credential: credential } = identity;
  if (method === "password") {
    const { user } = given(password, "identity.password");
    return { method, user: userReferenceOf(user, "identity.password.user"), password: user.password };
  }
  if (method === "token") return { method, token: given(token, "identity.token").id };
  if (method !== "application_credential") throw new AppError("unauthorized", `The method "${method}" is not supported.`);
  const { id, name, user, secret } = given(credential, "identity.application_credential");
  if (id !== undefined) return { method, credential: { id }, secret };
  const owner = userReferenceOf(given(user, "identity.application_credential.user"), "identity.application_credential.user");
  return { method, credential: { name: given(name, "identity.application_credential.name"), user: owner }, secret };
}

function scopeOf(scope: NonNullable<AuthRequest["auth"]["scope"]>): RequestedScope {
  if (scope === "unscoped" || scope.unscoped !== undefined) return { kind: "unscoped" };
  const { project, domain, system } = scope;
  if ([project, domain, system].filter((target) => target !== undefined).length !== 1) {
    throw new AppError("bad_request", "auth.scope must be one of project, domain, system or unscoped.");
  }
  if (domain) return { kind: "domain", domain: domainReferenceOf(domain, "scope.domain") };
  if (!project) return { kind: "system" };
  if (project.id !== undefined) return { kind: "project", project: { id: projectId(project.id) } };
  const name = given(project.name, "scope.project.name");
  return {
    kind: "project",
    project: { name, domain: domainReferenceOf(given(project.domain, "scope.project.domain"), "scope.project.domain") },
  };
}

function userReferenceOf({ id, name, domain }: UserBody, field: string): UserReference {
  if (id !== undefined) return { id: userId(id) };
  return { name: given(name, `${field}.name`), domain: domainReferenceOf(given(domain, `${field}.domain`), `${field}.domain`) };
}

function domainReferenceOf({ id, name }: DomainBody, field: string): DomainReference {
  return id === undefined ? { name: given(name, `${field}.name`) } : { id };
}

function given<T>(value: T | undefined, field: string): T {
  if (value === undefined) throw new AppError("bad_request", `Invalid body: auth.${field} is missing.`);
  return value;
}
