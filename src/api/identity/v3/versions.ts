import type { Server } from "#/api/server.ts";
import type { IdentityApi } from "./identity-api.ts";

/** Keystone's last version of the API, of Train (2019); later releases did not change it. */
const VERSION = { id: "v3.14", status: "stable", updated: "2020-04-07T00:00:00Z" };
const MEDIA_TYPES = [{ base: "application/json", type: "application/vnd.openstack.identity-v3+json" }];

export function addVersionRoutes(app: Server, { baseUrls }: IdentityApi): void {
  const version = (baseUrl: string) => ({
    ...VERSION,
    links: [{ rel: "self", href: `${baseUrl}/identity/v3/` }],
    "media-types": MEDIA_TYPES,
  });
  app.get("/", { config: { public: true } }, async (request, reply) => {
    const baseUrl = baseUrls.of(request);
    return reply
      .code(300)
      .header("location", `${baseUrl}/identity/v3/`)
      .send({ versions: { values: [version(baseUrl)] } });
  });
  app.get("/v3", { config: { public: true } }, async (request) => ({ version: version(baseUrls.of(request)) }));
}
