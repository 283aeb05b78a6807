import type { Identity } from "#/app/identity/identity.ts";
import type { Subject } from "#/domain/identity.ts";
import { keystoneFault } from "#/api/fault-shapes.ts";
import { type Server, useFaultShape } from "#/api/server.ts";
import { addApplicationCredentialRoutes } from "./application-credentials.ts";
import { BaseUrls } from "#/api/base-urls.ts";
import { addCatalogRoutes } from "./catalog.ts";
import { addDomainRoutes } from "./domains.ts";
import { addProjectRoutes } from "./projects.ts";
import { addRoleAssignmentRoutes } from "./role-assignments.ts";
import { addRoleRoutes } from "./roles.ts";
import { addTokenRoutes } from "./tokens.ts";
import { addUserRoutes } from "./users.ts";
import { addVersionRoutes } from "./versions.ts";
import type { IdentityApi } from "./identity-api.ts";

declare module "fastify" {
  interface FastifyRequest {
    /** In Identity's routes, except public ones: who the token speaks for, whatever its scope is. */
    subject: Subject;
  }
}

/**
 * The Identity API v3 under `/identity`, https://docs.openstack.org/api-ref/identity/v3/. `publicUrl` is how clients reach the
 * server, without a slash at its end; undefined: as the request did.
 */
export function registerIdentity(app: Server, { identity, publicUrl }: { identity: Identity; publicUrl?: string | undefined }): void {
  const api: IdentityApi = { identity, baseUrls: new BaseUrls(publicUrl) };
  app.register(async (scope: Server) => addRoutes(scope, api), { prefix: "/identity" });
}

function addRoutes(app: Server, api: IdentityApi): void {
  useFaultShape(app, keystoneFault);
  useSubjects(app, api.identity);
  addVersionRoutes(app, api);
  addTokenRoutes(app, api);
  addCatalogRoutes(app, api);
  addDomainRoutes(app, api);
  addProjectRoutes(app, api);
  addUserRoutes(app, api);
  addRoleRoutes(app, api);
  addRoleAssignmentRoutes(app, api);
  addApplicationCredentialRoutes(app, api);
}

/** Identity takes tokens of every scope, and none: so it looks at them itself. */
function useSubjects(app: Server, identity: Identity): void {
  app.decorateRequest("subject", null as unknown as Subject);
  app.addHook("onRoute", (route) => {
    route.config = { ...route.config, checksTokenItself: true };
  });
  app.addHook("onRequest", async (request) => {
    if (request.is404 || request.routeOptions.config.public) return;
    const token = request.headers["x-auth-token"];
    request.subject = await identity.tokens.check(typeof token === "string" && token !== "" ? token : undefined);
  });
}
