import { randomUUID } from "node:crypto";
import type { IncomingMessage, Server as HttpServer, ServerResponse } from "node:http";
import type { TypeBoxTypeProvider } from "@fastify/type-provider-typebox";
import Fastify, { type FastifyBaseLogger, type FastifyInstance, type FastifyReply, type FastifyRequest, LogController } from "fastify";
import type { Caller } from "#/domain/caller.ts";
import { AppError } from "#/domain/errors.ts";
import { KiB, MiB } from "#/lib/units.ts";
import { AllowedMethods } from "./allowed-methods.ts";
import { drainRefusedBodies } from "./drain.ts";
import { type FaultShape, sendFault } from "./errors.ts";
import { continueLate } from "./expect-continue.ts";
import { micaFault } from "./fault-shapes.ts";
import { acceptJsonBodies, refuseOtherBodies } from "./json-body.ts";
import { compileValidator } from "./validation.ts";

/** The fastify instance that all APIs are registered on; the types of requests come from their TypeBox schemas. */
export type Server = FastifyInstance<HttpServer, IncomingMessage, ServerResponse, FastifyBaseLogger, TypeBoxTypeProvider>;

/** Who a request comes from; throws `unauthorized` where a token is missing, unknown, expired or revoked. */
export type Authenticate = (credentials: Credentials) => Promise<Caller>;

export interface Credentials {
  /** X-Auth-Token. */
  readonly token: string | undefined;
  /** X-Service-Token: a service speaking for the user of the first token. */
  readonly serviceToken: string | undefined;
  readonly requestId: string;
}

export interface ServerOptions {
  readonly authenticate: Authenticate;
  readonly log: FastifyBaseLogger;
  /** The largest JSON body. Uploads of disks are streams and don't count. */
  readonly jsonBytesMax?: number;
  /** How long a client may take to send a JSON body. */
  readonly jsonTimeoutMs?: number;
  /** How long a connection may stand still in the middle of a request or an answer. */
  readonly idleTimeoutMs?: number;
  /** Speaks TLS, and only with those who show a certificate of the same authority (PEM). */
  readonly tls?: { readonly ca: Buffer; readonly cert: Buffer; readonly key: Buffer; readonly minVersion: "TLSv1.2" };
}

declare module "fastify" {
  interface FastifyRequest {
    /** Who asks; in every route but public ones and Identity's. */
    caller: Caller;
  }
  interface FastifyContextConfig {
    /** The route needs no token: version documents, logging in. */
    public?: boolean;
    /** The route takes tokens that are not scoped to a project as well, and looks at them by itself: Identity. */
    checksTokenItself?: boolean;
  }
}

/** Far above the pauses of a slow disk or a sleepy network, and still an end for connections whose peer is gone. */
const IDLE_TIMEOUT_MS = 10 * 60 * 1000;

/** Who has not shown a certificate by then is sent away. */
const HANDSHAKE_TIMEOUT_MS = 10_000;

/** Uploads of disks have no such limit, so that the server's own (requestTimeout) cannot be used. */
const JSON_TIMEOUT_MS = 30_000;

/** Names may be 255 characters long, and each may take 9 bytes when percent-encoded. */
const PARAMETER_LENGTH_MAX = 3 * KiB;

/**
 * The HTTP server, still without routes: request ids, authentication, validation, refusals and one log line per request.
 * Every route needs a token unless its `config` says `public`. Handlers find who asks in `request.caller`.
 */
export function createServer(options: ServerOptions): Server {
  const { authenticate, log, jsonBytesMax = MiB, jsonTimeoutMs = JSON_TIMEOUT_MS, idleTimeoutMs = IDLE_TIMEOUT_MS, tls } = options;
  const app = Fastify({
    ...(tls && { https: { ...tls, requestCert: true, rejectUnauthorized: true, handshakeTimeout: HANDSHAKE_TIMEOUT_MS } }),
    loggerInstance: log,
    logController: new LogController({ disableRequestLogging: true, requestIdLogLabel: "requestId" }), // logRequests() does it.
    genReqId: () => `req-${randomUUID()}`,
    exposeHeadRoutes: false,
    requestTimeout: 0, // An upload takes as long as it takes; headers and JSON bodies have their own limits.
    connectionTimeout: idleTimeoutMs,
    routerOptions: { ignoreTrailingSlash: true, maxParamLength: PARAMETER_LENGTH_MAX },
    frameworkErrors: (error, request, reply) => sendFault(micaFault, error, request, reply),
  }).withTypeProvider<TypeBoxTypeProvider>();
  app.setValidatorCompiler(compileValidator);
  app.setSerializerCompiler(() => (value) => JSON.stringify(value)); // The views make what the schemas say: nothing to filter.
  acceptJsonBodies(app, { bytesMax: jsonBytesMax, timeoutMs: jsonTimeoutMs });
  refuseOtherBodies(app);
  app.decorateRequest("caller", null as unknown as Caller);
  app.addHook("onRequest", async (request, reply) => {
    reply.header("x-openstack-request-id", request.id);
    if (needsCaller(request)) request.caller = await authenticateRequest(request, authenticate);
  });
  continueLate(app);
  drainRefusedBodies(app);
  logRequests(app);
  useFaultShape(app, micaFault);
  return app;
}

/** Gives the API under this plugin's prefix its shape of refusals; 404 and 405 included. Call it once per plugin, before its routes. */
export function useFaultShape(app: Server, shape: FaultShape): void {
  app.setErrorHandler((error, request, reply) => sendFault(shape, error, request, reply));
  const allowedMethods = new AllowedMethods(app);
  app.setNotFoundHandler((request, reply) => {
    const path = pathOf(request);
    const allowed = allowedMethods.of(path);
    if (allowed.length === 0) throw new AppError("not_found", `There is no ${path}.`);
    reply.header("allow", allowed.join(", "));
    throw new AppError("method_not_allowed", `${path} does not take ${request.method}.`);
  });
}

/** Also answers with the request id under an older name that a service's clients look for: `x-compute-request-id`. */
export function useRequestIdHeader(app: Server, name: string): void {
  app.addHook("onRequest", async (request, reply) => {
    reply.header(name, request.id);
  });
}

function needsCaller({ is404, routeOptions: { config } }: FastifyRequest): boolean {
  return !is404 && !config.public && !config.checksTokenItself;
}

async function authenticateRequest(request: FastifyRequest, authenticate: Authenticate): Promise<Caller> {
  return authenticate({ token: header(request, "x-auth-token"), serviceToken: header(request, "x-service-token"), requestId: request.id });
}

function header(request: FastifyRequest, name: string): string | undefined {
  const value = request.headers[name];
  return typeof value === "string" && value !== "" ? value : undefined;
}

/** Queries are left out of the log: callers put names and, by mistake, secrets in them. */
function pathOf(request: FastifyRequest): string {
  return request.url.split("?", 1)[0] ?? request.url;
}

function logRequests(app: Server): void {
  const describe = (request: FastifyRequest, reply: FastifyReply) => ({
    method: request.method,
    path: pathOf(request),
    ms: Math.round(reply.elapsedTime),
    projectId: request.caller?.projectId,
  });
  app.addHook("onResponse", async (request, reply) => {
    request.log.info({ ...describe(request, reply), status: reply.statusCode }, "request");
  });
  app.addHook("onRequestAbort", async (request) => {
    request.log.info(
      { method: request.method, path: pathOf(request), projectId: request.caller?.projectId },
      "request cut off by the client",
    );
  });
}
