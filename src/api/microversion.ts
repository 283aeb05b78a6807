import { AppError } from "#/domain/errors.ts";
import type { Server } from "./server.ts";

/** The microversions of one API, which differ only in the number after the dot: volume 3.0 to 3.71. */
export interface Microversions {
  /** The service type in the header: `volume`. */
  readonly service: string;
  readonly major: number;
  /** The first and the last number after the dot. */
  readonly min: number;
  readonly max: number;
  /** A header from before there was one for all services, which has the bare version: `X-OpenStack-Nova-API-Version: 2.12`. */
  readonly legacyHeader?: string;
}

declare module "fastify" {
  interface FastifyRequest {
    /** The number after the dot of the API's microversion that the request asked for; the minimum where it asked for none. */
    microversion: number;
  }
  interface FastifyContextConfig {
    /** The first and last microversion that has this call; to others it does not exist. */
    since?: number;
    until?: number;
  }
}

/** Reads the microversion of each request under this plugin, refuses bad ones, and names it in the answer. */
export function useMicroversions(app: Server, versions: Microversions): void {
  app.decorateRequest("microversion", versions.min);
  app.addHook("onRequest", async (request, reply) => {
    const { legacyHeader } = versions;
    const legacy = legacyHeader === undefined ? undefined : request.headers[legacyHeader.toLowerCase()];
    const minor = requestedMicroversion(request.headers["openstack-api-version"], versions, legacy);
    request.microversion = minor;
    reply.header("openstack-api-version", `${versions.service} ${versions.major}.${minor}`);
    if (legacyHeader !== undefined) reply.header(legacyHeader, `${versions.major}.${minor}`);
    reply.header("vary", ["OpenStack-API-Version", legacyHeader ?? []].flat().join(", "));
    const { since = versions.min, until = versions.max } = request.routeOptions.config;
    if (minor < since || minor > until) throw new AppError("not_found", `Microversion ${versions.major}.${minor} does not have this call.`);
  });
}

/**
 * The number after the dot that the header asks for. It may name several services, separated by commas
 * (https://specs.openstack.org/openstack/api-sig/guidelines/microversion_specification.html). Where it does not name this one, the
 * value of the legacy header counts. `bad_request` where it is malformed, `not_acceptable` where it is out of range.
 */
export function requestedMicroversion(
  header: string | readonly string[] | undefined,
  { service, major, min, max }: Microversions,
  legacy?: string | readonly string[],
): number {
  const wanted = [header ?? []]
    .flat()
    .join(",")
    .split(",")
    .map((part) => part.trim().split(/\s+/));
  const named = wanted
    .find(([name]) => name?.toLowerCase() === service)
    ?.slice(1)
    .join(" ");
  const version = named ?? [legacy ?? []].flat()[0]?.trim();
  if (version === undefined) return min;
  if (version === "latest") return max;
  const match = /^([1-9]\d{0,3})\.(0|[1-9]\d{0,3})$/.exec(version);
  if (!match) throw new AppError("bad_request", `The microversion "${version}" is not of the form ${major}.N or latest.`);
  const minor = Number(match[2]);
  if (Number(match[1]) !== major || minor < min || minor > max) {
    throw new AppError("not_acceptable", `The ${service} API has the microversions ${major}.${min} to ${major}.${max}, not ${version}.`);
  }
  return minor;
}
