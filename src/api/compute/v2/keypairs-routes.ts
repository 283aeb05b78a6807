import type { FastifyRequest } from "fastify";
import Type from "typebox";
import { parserOf } from "#/api/parse.ts";
import type { Server } from "#/api/server.ts";
import type { NewKeypair } from "#/app/keypairs.ts";
import type { Keypair } from "#/domain/keypair.ts";
import { strict } from "./fields.ts";
import { Query, STRICT_QUERIES_SINCE } from "./query.ts";
import type { ComputeApi } from "./compute-api.ts";
import { preciseTimeView } from "./time.ts";

const NameParams = Type.Object({ name: Type.String() });

/** The letters that Nova lets names have; it added @ and . when it stopped making keys. */
const name = (letters: string) => Type.String({ minLength: 1, maxLength: 255, pattern: `^(?! )[${letters}]+(?<! )$` });
const KeyType = Type.Optional(Type.Union([Type.Literal("ssh"), Type.Literal("x509")]));
const FIELDS_2_1 = { name: name("a-zA-Z0-9_\\- "), public_key: Type.Optional(Type.String()) };
const FIELDS_2_10 = { ...FIELDS_2_1, type: KeyType, user_id: Type.Optional(Type.String({ maxLength: 255 })) };

const create_2_1 = parserOf(strict({ keypair: strict(FIELDS_2_1) }));
const create_2_2 = parserOf(strict({ keypair: strict({ ...FIELDS_2_1, type: KeyType }) }));
const create_2_10 = parserOf(strict({ keypair: strict(FIELDS_2_10) }));
const create_2_92 = parserOf(strict({ keypair: strict({ ...FIELDS_2_10, name: name("a-zA-Z0-9_\\-@. "), public_key: Type.String() }) }));

type NewKeypairBody = ReturnType<typeof create_2_10>["keypair"];

function parseCreateKeypair(minor: number, received: unknown): NewKeypairBody {
  if (minor >= 92) return create_2_92(received).keypair;
  if (minor >= 10) return create_2_10(received).keypair;
  return minor >= 2 ? create_2_2(received).keypair : create_2_1(received).keypair;
}

export function addKeypairRoutes(app: Server, { keypairs, viewers, limitMax }: ComputeApi): void {
  app.get("/os-keypairs", async (request) => {
    const { caller, microversion } = request;
    const query = new Query(request.query);
    const userId = takeUser(query, microversion);
    const page = microversion >= 35 ? query.takePage(limitMax) : { limit: limitMax, marker: undefined };
    query.refuseRest(microversion, STRICT_QUERIES_SINCE);
    const { records, more } = await keypairs.list(caller, { ...page, userId });
    const links = microversion >= 35 ? viewers.of(request).nextLinks(more ? records.at(-1)?.name : undefined) : undefined;
    return { keypairs: records.map((keypair) => ({ keypair: keypairView(keypair, microversion) })), ...(links && { keypairs_links: links }) };
  });

  app.post("/os-keypairs", async (request, reply) => {
    const { caller, microversion } = request;
    const body = parseCreateKeypair(microversion, request.body);
    const { keypair, privateKey } = await keypairs.create(caller, newKeypair(body), body.user_id);
    const view = { ...keypairView(keypair, microversion), user_id: keypair.userId, ...(privateKey !== undefined && { private_key: privateKey }) };
    return reply.code(microversion >= 2 ? 201 : 200).send({ keypair: view });
  });

  app.get("/os-keypairs/:name", { schema: { params: NameParams } }, async (request) => {
    const keypair = await keypairs.get(request.caller, request.params.name, askedUser(request));
    return { keypair: keypairDetailView(keypair, request.microversion) };
  });

  app.delete("/os-keypairs/:name", { schema: { params: NameParams } }, async (request, reply) => {
    await keypairs.remove(request.caller, request.params.name, askedUser(request));
    return reply.code(request.microversion >= 2 ? 204 : 202).send();
  });
}

function newKeypair({ name, type, public_key }: NewKeypairBody): NewKeypair {
  return { name, type: type ?? "ssh", publicKey: public_key };
}

function askedUser(request: FastifyRequest): string | undefined {
  const query = new Query(request.query);
  const userId = takeUser(query, request.microversion);
  query.refuseRest(request.microversion, STRICT_QUERIES_SINCE);
  return userId;
}

function takeUser(query: Query, minor: number): string | undefined {
  return minor >= 10 ? query.take("user_id") : undefined;
}

function keypairView({ name, type, publicKey, fingerprint }: Keypair, minor: number): object {
  return { name, public_key: publicKey, fingerprint, ...(minor >= 2 && { type }) };
}

function keypairDetailView(keypair: Keypair, minor: number): object {
  const created_at = preciseTimeView(keypair.createdAtMs);
  return { ...keypairView(keypair, minor), id: keypair.id, user_id: keypair.userId, created_at, updated_at: null, deleted: false, deleted_at: null };
}
