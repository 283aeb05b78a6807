import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** What a path of the server has. */
export interface WebFile {
  readonly bytes: Uint8Array;
  /** Default: ranges are served, and said to be in the answer to HEAD. */
  readonly ranges?: "served" | "silent" | "none";
  /** Answered instead of the bytes. */
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  /** Every so many bytes of a body the connection breaks. */
  readonly breaksAfterBytes?: number;
  readonly refusesHead?: boolean;
  /** HEAD and GET tell no length. */
  readonly chunked?: boolean;
}

export interface WebServer extends AsyncDisposable {
  /** `http://127.0.0.1:PORT` */
  readonly url: string;
  readonly files: Map<string, WebFile>;
  /** `METHOD PATH RANGE` of each request. */
  readonly requests: string[];
}

/** A web server on this machine, whose files a test makes and changes. */
export async function startWebServer(files: Readonly<Record<string, WebFile>> = {}): Promise<WebServer> {
  const world = { files: new Map(Object.entries(files)), requests: [] as string[] };
  const server = createServer((request, response) => answer(world, request, response));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const dispose = async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  };
  return { ...world, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, [Symbol.asyncDispose]: dispose };
}

function answer({ files, requests }: Pick<WebServer, "files" | "requests">, request: IncomingMessage, response: ServerResponse): void {
  requests.push(`${request.method} ${request.url} ${request.headers.range ?? ""}`.trim());
  const file = files.get(request.url ?? "");
  if (!file) return end(response, 404);
  if (file.refusesHead && request.method === "HEAD") return end(response, 405);
  if (file.status !== undefined) return end(response, file.status, file.headers);
  const etag = etagOf(file.bytes);
  if ((request.headers["if-match"] ?? etag) !== etag) return end(response, 412);
  send(file, request, response, etag);
}

const etags = new WeakMap<Uint8Array, string>();

/** Made once for each content: a large one takes a while. */
function etagOf(bytes: Uint8Array): string {
  const etag = etags.get(bytes) ?? `"${createHash("md5").update(bytes).digest("hex")}"`;
  etags.set(bytes, etag);
  return etag;
}

function send(file: WebFile, request: IncomingMessage, response: ServerResponse, etag: string): void {
  const { bytes, ranges = "served" } = file;
  const range = ranges === "none" ? undefined : rangeOf(request.headers.range, bytes.length);
  if (range === "beyond") return end(response, 416);
  const { start, end: stop } = range ?? { start: 0, end: bytes.length };
  response.writeHead(range ? 206 : 200, {
    etag,
    ...(!file.chunked && { "content-length": stop - start }),
    ...(ranges === "served" && { "accept-ranges": "bytes" }),
    ...(range && { "content-range": `bytes ${start}-${stop - 1}/${bytes.length}` }),
    ...file.headers,
  });
  if (request.method === "HEAD") response.end();
  else sendBody(response, bytes.subarray(start, stop), file.breaksAfterBytes);
}

function sendBody(response: ServerResponse, body: Uint8Array, breaksAfterBytes = Number.POSITIVE_INFINITY): void {
  if (body.length <= breaksAfterBytes) response.end(body);
  else response.write(body.subarray(0, breaksAfterBytes), () => setImmediate(() => response.destroy()));
}

function rangeOf(header: string | undefined, sizeBytes: number): { start: number; end: number } | "beyond" | undefined {
  const [, start, last] = /^bytes=(\d+)-(\d+)$/.exec(header ?? "") ?? [];
  if (start === undefined || last === undefined) return undefined;
  if (Number(start) >= sizeBytes) return "beyond";
  return { start: Number(start), end: Math.min(sizeBytes, Number(last) + 1) };
}

function end(response: ServerResponse, status: number, headers: Readonly<Record<string, string>> = {}): void {
  response.writeHead(status, { "content-length": 0, ...headers }).end();
}
