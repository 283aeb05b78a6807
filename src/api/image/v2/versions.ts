import type { FastifyRequest } from "fastify";
import type { Server } from "#/api/server.ts";
import type { ImagesApi } from "./images-api.ts";

/**
 * The versions of a Glance with one store and without an image cache, newest first; 2.8 and 2.10 to 2.14, 2.16 and 2.18 are about
 * those. Clients look here for what they may ask; there is no microversion header.
 */
const VERSIONS = ["2.17", "2.15", "2.9", "2.7", "2.6", "2.5", "2.4", "2.3", "2.2", "2.1", "2.0"] as const;

export function addVersionRoutes(app: Server, { baseUrls }: ImagesApi): void {
  const versions = (request: FastifyRequest) => ({
    versions: VERSIONS.map((version, index) => ({
      id: `v${version}`,
      status: index === 0 ? "CURRENT" : "SUPPORTED",
      links: [{ rel: "self", href: `${baseUrls.of(request)}/image/v2/` }],
    })),
  });
  for (const path of ["/", "/v2"])
    app.get(path, { config: { public: true } }, async (request, reply) => reply.code(300).send(versions(request)));
  app.get("/versions", { config: { public: true } }, async (request) => versions(request));
}
