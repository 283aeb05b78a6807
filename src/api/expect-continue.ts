import type { IncomingMessage, ServerResponse } from "node:http";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";

declare module "fastify" {
  interface FastifyContextConfig {
    /** The handler itself says when the body is wanted, with `sendContinue`. */
    continuesLate?: boolean;
  }
}

/**
 * A client that sends `Expect: 100-continue` (curl does, for what is not small) waits for our word before the body. So it is said
 * only when the body is wanted: what is refused by its headers costs no transfer. RFC 9110 §10.1.1.
 */
export function continueLate(app: FastifyInstance): void {
  app.server.on("checkContinue", (request: IncomingMessage, response: ServerResponse) => {
    app.server.emit("request", request, response);
  });
  app.addHook("preParsing", async (request, reply) => {
    if (!request.routeOptions.config.continuesLate) sendContinue(request, reply);
  });
}

/** Asks for the body, where the client waits to be asked. */
export function sendContinue(request: FastifyRequest, reply: FastifyReply): void {
  if (request.headers.expect?.toLowerCase() === "100-continue") reply.raw.writeContinue();
}
