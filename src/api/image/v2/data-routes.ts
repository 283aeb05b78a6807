import type { IncomingMessage } from "node:http";
import type { FastifyReply, FastifyRequest } from "fastify";
import { sendContinue } from "#/api/expect-continue.ts";
import { sendBytes } from "#/api/send-bytes.ts";
import type { Server } from "#/api/server.ts";
import type { ImageContent } from "#/app/image-data.ts";
import type { ImageStores } from "#/app/image-stores.ts";
import { AppError } from "#/domain/errors.ts";
import { parseRange } from "./range.ts";
import type { ImagesApi } from "./images-api.ts";
import { DownloadQuery, ImageParams } from "./schema.ts";

const OCTET_STREAM = "application/octet-stream";

/** Upload and download. The body of an upload is passed on as it comes: nothing here holds more of it than one chunk. */
export function addDataRoutes(app: Server, { data, stores }: ImagesApi): void {
  app.addContentTypeParser(OCTET_STREAM, (_request, _payload, done) => done(null, undefined));

  app.put(
    "/v2/images/:imageId/file",
    { schema: { params: ImageParams }, config: { continuesLate: true }, onRequest: requireOctetStream },
    async (request, reply) => {
      const open = () => bodyOf(request, reply);
      await data.upload(request.caller, request.params.imageId, { open, sizeBytes: announcedSize(request), store: storeOf(request) });
      return reply.code(204).send();
    },
  );

  app.get("/v2/images/:imageId/file", { schema: { params: ImageParams, querystring: DownloadQuery } }, async (request, reply) => {
    requireKnown(request.query.prefer, stores);
    const content = await data.download(request.caller, request.params.imageId);
    if (!content) return reply.code(204).send();
    return sendContent(request, reply, content);
  });
}

/** The store that the upload names, by Glance's header. */
function storeOf({ headers }: FastifyRequest): string | undefined {
  const store = headers["x-image-meta-store"];
  return typeof store === "string" && store !== "" ? store : undefined;
}

/** An image is in one store: whatever is preferred, that is where it comes from. */
function requireKnown(prefer: string | undefined, stores: ImageStores): void {
  if (prefer === undefined) return;
  if (!stores.areSeveral) throw new AppError("bad_request", "There is one store here: none can be preferred.");
  for (const store of prefer.split(",")) if (!stores.has(store)) throw new AppError("bad_request", `Store ${store} is not among the stores of images.`);
}

async function requireOctetStream({ headers }: FastifyRequest): Promise<void> {
  if (headers["content-type"]?.split(";", 1)[0]?.trim().toLowerCase() === OCTET_STREAM) return;
  throw new AppError("unsupported_media", `The bytes of an image are sent as ${OCTET_STREAM}.`);
}

function bodyOf(request: FastifyRequest, reply: FastifyReply): AsyncIterable<Uint8Array> {
  sendContinue(request, reply);
  return chunksOf(request.raw);
}

/** However the reading ends, the connection lives on, so that the client can read the answer. */
async function* chunksOf(body: IncomingMessage): AsyncIterable<Uint8Array> {
  yield* body.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>;
}

/** By Content-Length or, where the body comes in chunks, by a header that Glance has for it (2025.2). They must not differ. */
function announcedSize({ headers }: FastifyRequest): number | undefined {
  const length = headers["content-length"] === undefined ? undefined : Number(headers["content-length"]);
  const hint = headers["x-openstack-image-size"];
  if (hint === undefined) return length;
  if (typeof hint !== "string" || !/^\d{1,15}$/.test(hint.trim()))
    throw new AppError("bad_request", "The header x-openstack-image-size must be a whole number of bytes.");
  if (length !== undefined && length !== Number(hint)) {
    throw new AppError("bad_request", `The header x-openstack-image-size says ${hint} bytes, and Content-Length ${length}.`);
  }
  return Number(hint);
}

async function sendContent(request: FastifyRequest, reply: FastifyReply, content: ImageContent): Promise<void> {
  const { sizeBytes, checksumMd5 } = content;
  reply.header("accept-ranges", "bytes");
  const part = rangeOf(request, reply, sizeBytes);
  const { start, end } = part ?? { start: 0, end: sizeBytes };
  await sendBytes(reply, {
    status: part ? 206 : 200,
    headers: {
      "content-type": OCTET_STREAM,
      "content-length": end - start,
      ...(part && { "content-range": `bytes ${start}-${end - 1}/${sizeBytes}` }),
      ...(!part && checksumMd5 !== null && { "content-md5": checksumMd5 }), // Of the whole, and, as Glance has it, in hexadecimal.
    },
    open: (signal) => content.read({ start, end }, signal),
  });
}

function rangeOf(request: FastifyRequest, reply: FastifyReply, sizeBytes: number) {
  try {
    return parseRange(request.headers.range, sizeBytes);
  } catch (error) {
    if (error instanceof AppError && error.code === "range_not_satisfiable") reply.header("content-range", `bytes */${sizeBytes}`);
    throw error;
  }
}
