import type { FastifyRequest } from "fastify";
import type { Server } from "#/api/server.ts";
import { type ComputeApi, MICROVERSIONS } from "./compute-api.ts";

/** The version documents: without a token, as clients read them to find out where to go. */
export function addVersionRoutes(app: Server, { viewers }: ComputeApi): void {
  app.get("/", { config: { public: true } }, async (request) => ({ versions: [versionView(viewers.baseUrl(request))] }));
  app.get("/v2.1", { config: { public: true } }, async (request: FastifyRequest) => ({ version: versionView(viewers.baseUrl(request)) }));
}

function versionView(baseUrl: string): object {
  const { major, min, max } = MICROVERSIONS;
  return {
    id: `v${major}.1`,
    status: "CURRENT",
    version: `${major}.${max}`,
    min_version: `${major}.${min}`,
    updated: "2013-07-23T11:33:21Z",
    links: [
      { rel: "self", href: `${baseUrl}/compute/v${major}.1/` },
      { rel: "describedby", type: "text/html", href: "https://docs.openstack.org/" },
    ],
    "media-types": [{ base: "application/json", type: "application/vnd.openstack.compute+json;version=2.1" }],
  };
}
