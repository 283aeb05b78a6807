import type { FastifyReply, FastifyRequest } from "fastify";
import type { Server } from "#/api/server.ts";
import { MICROVERSIONS, type VolumeApi } from "./volume-api.ts";

/** The version documents: without a token, as clients read them to find out where to go. */
export function addVersionRoutes(app: Server, { viewers }: VolumeApi): void {
  const document = (request: FastifyRequest) => ({ versions: [versionView(viewers.baseUrl(request))] });
  const choices = async (request: FastifyRequest, reply: FastifyReply) => reply.code(300).send(document(request));
  app.get("/", { config: { public: true } }, choices);
  app.get("/v3", { config: { public: true } }, async (request) => document(request));
}

function versionView(baseUrl: string): object {
  const { major, min, max } = MICROVERSIONS;
  return {
    id: `v${major}.0`,
    status: "CURRENT",
    version: `${major}.${max}`,
    min_version: `${major}.${min}`,
    updated: "2023-08-31T00:00:00Z",
    links: [
      { rel: "describedby", type: "text/html", href: "https://docs.openstack.org/" },
      { rel: "self", href: `${baseUrl}/volume/v${major}/` },
    ],
    "media-types": [{ base: "application/json", type: "application/vnd.openstack.volume+json;version=3" }],
  };
}
