import Type from "typebox";
import { micaFault } from "#/api/fault-shapes.ts";
import { type Server, useFaultShape } from "#/api/server.ts";
import type { WorkerService } from "#/app/worker/service.ts";
import { Conversation, CONVERSATION_TYPE } from "#/lib/conversation.ts";

const CallParams = Type.Object({ pool: Type.String(), method: Type.String() });

/** What a worker does for other processes of Mica, at `/worker/v1`. Who they are their certificates have shown: there are no tokens here. */
export function registerWorker(app: Server, service: WorkerService): void {
  app.register(async (scope: Server) => addRoutes(scope, service), { prefix: "/worker/v1" });
}

function addRoutes(app: Server, service: WorkerService): void {
  useFaultShape(app, micaFault);
  app.addContentTypeParser(CONVERSATION_TYPE, (_request, _payload, done) => done(null, undefined));

  app.get("/", { config: { public: true } }, async () => service.facts());

  app.post("/pools/:pool/:method", { schema: { params: CallParams }, config: { public: true } }, async ({ params, raw }, reply) => {
    const pool = service.find(params.pool, params.method);
    reply.hijack();
    reply.raw.writeHead(200, { "content-type": CONVERSATION_TYPE });
    reply.raw.flushHeaders();
    await service.answer(pool, params.method, new Conversation({ input: raw, output: reply.raw }));
  });
}
