import { once } from "node:events";
import { createServer, type Server, type Socket } from "node:net";
import { MiB } from "#/lib/units.ts";
import { ByteQueue } from "#/lib/byte-queue.ts";
import {
  exportName,
  greeting,
  NBD_INFO_BLOCK_SIZE,
  NBD_INFO_EXPORT,
  NBD_OPT_ABORT,
  NBD_OPT_EXPORT_NAME,
  NBD_OPT_GO,
  NBD_OPT_INFO,
  NBD_REP_ACK,
  NBD_REP_ERR_UNKNOWN,
  NBD_REP_ERR_UNSUP,
  NBD_REP_INFO,
  OPTION_BYTES_MAX,
  OPTION_HEAD_BYTES,
  optionReply,
  readOptionHead,
} from "#/tools/nbd-messages.ts";

/** What a reader sees under one name. */
export interface NbdExport {
  /** Whole sectors of 512 bytes: QEMU 7.2 waits for ever when it reads the end of anything else through another server. */
  readonly sizeBytes: number;
  /** Exactly the bytes from `start` up to, not with, `end`, which are inside of the export, in pieces. Several may be under way at once. */
  read(start: number, end: number): Promise<readonly Uint8Array[]>;
}

/** Gives what has the name, anew for each reader; undefined where nothing has. */
export type FindExport = (name: string) => Promise<NbdExport | undefined>;

/**
 * The server's side of the Network Block Device protocol on a unix socket, read-only, as far as QEMU's client needs it:
 * newstyle handshake, exports by name, simple replies. Readers are tools that also read hostile bytes: whatever they
 * send costs at most their own connection. Source: github.com/NetworkBlockDevice/nbd, doc/proto.md.
 */
export class NbdServer implements AsyncDisposable {
  readonly path: string;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(path: string, find: FindExport, onError: (error: unknown) => void) {
    this.path = path;
    this.#server = createServer((socket) => this.#serve(socket, find, onError));
  }

  /** `path` is free; who may enter its folder may read. `onError` hears what a reader only sees as an I/O error. */
  static async listen(path: string, find: FindExport, onError: (error: unknown) => void): Promise<NbdServer> {
    const server = new NbdServer(path, find, onError);
    server.#server.listen(path);
    await once(server.#server, "listening");
    server.#server.unref(); // Nobody stays alive only to be read from.
    return server;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  #serve(socket: Socket, find: FindExport, onError: (error: unknown) => void): void {
    this.#sockets.add(socket);
    socket.once("close", () => this.#sockets.delete(socket));
    socket.on("error", () => {}); // The reader is gone; there is nobody to tell.
    talk(socket, find, onError)
      .catch(onError)
      .finally(() => socket.destroy());
  }
}

/** Until the reader has gone. A stream that ends, between two messages or in one, is how readers leave. */
async function talk(socket: Socket, find: FindExport, onError: (error: unknown) => void): Promise<void> {
  const input = new ByteQueue(socket);
  const next = (count: number) => input.take(count).catch(() => undefined);
  socket.write(greeting());
  if ((await next(4)) === undefined) return;
  const shown = await agree(socket, next, find);
  if (shown) await answerRequests(socket, next, { shown, onError });
}

type Next = (count: number) => Promise<Buffer | undefined>;

/** Settles the options; returns the export that the reader goes on with. */
async function agree(socket: Socket, next: Next, find: FindExport): Promise<NbdExport | undefined> {
  for (;;) {
    const head = await next(OPTION_HEAD_BYTES);
    const { number: option, lengthBytes } = (head && readOptionHead(head)) ?? { number: NBD_OPT_ABORT, lengthBytes: 0 };
    const data = lengthBytes > OPTION_BYTES_MAX ? undefined : await next(lengthBytes);
    if (data === undefined || option === NBD_OPT_ABORT || option === NBD_OPT_EXPORT_NAME) return undefined;
    if (option !== NBD_OPT_GO && option !== NBD_OPT_INFO) {
      socket.write(optionReply(option, NBD_REP_ERR_UNSUP));
      continue;
    }
    const shown = await find(exportName(data));
    if (!shown) socket.write(optionReply(option, NBD_REP_ERR_UNKNOWN));
    else {
      for (const info of [exportInfo(shown.sizeBytes), blockSizeInfo()]) socket.write(optionReply(option, NBD_REP_INFO, info));
      socket.write(optionReply(option, NBD_REP_ACK));
      if (option === NBD_OPT_GO) return shown;
    }
  }
}

async function answerRequests(socket: Socket, next: Next, reading: { shown: NbdExport; onError: (error: unknown) => void }): Promise<void> {
  const underWay = new Set<Promise<void>>();
  for (;;) {
    const request = await next(28);
    if (request?.readUInt32BE(0) !== NBD_REQUEST_MAGIC || request.readUInt16BE(6) === NBD_CMD_DISC) break;
    const answer = answerRequest(socket, request, reading).finally(() => underWay.delete(answer));
    underWay.add(answer);
    if (underWay.size >= REQUESTS_MAX) await Promise.race(underWay);
    if (socket.writableNeedDrain) await drained(socket);
  }
  await Promise.all(underWay);
}

/** Until the reader has taken what it was sent, or is gone. */
function drained(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    const end = () => {
      socket.off("drain", end).off("close", end);
      resolve();
    };
    socket.on("drain", end).on("close", end);
  });
}

async function answerRequest(socket: Socket, request: Buffer, { shown, onError }: { shown: NbdExport; onError: (error: unknown) => void }): Promise<void> {
  const handle = request.subarray(8, 16);
  const [start, lengthBytes] = [Number(request.readBigUInt64BE(16)), request.readUInt32BE(24)];
  const isRead = request.readUInt16BE(6) === NBD_CMD_READ;
  if (!isRead || lengthBytes > READ_BYTES_MAX || start + lengthBytes > shown.sizeBytes) {
    socket.write(simpleReply(handle, EINVAL));
    return;
  }
  try {
    const pieces = await shown.read(start, start + lengthBytes);
    const readBytes = pieces.reduce((sum, { length }) => sum + length, 0);
    if (readBytes !== lengthBytes) throw new Error(`Broken invariant: ${readBytes} bytes were read instead of ${lengthBytes}`);
    socket.cork();
    socket.write(simpleReply(handle, 0));
    for (const piece of pieces) socket.write(piece);
    socket.uncork();
  } catch (error) {
    onError(error);
    socket.write(simpleReply(handle, EIO));
  }
}

function exportInfo(sizeBytes: number): Buffer {
  const info = Buffer.alloc(12);
  info.writeUInt16BE(NBD_INFO_EXPORT, 0);
  info.writeBigUInt64BE(BigInt(sizeBytes), 2);
  info.writeUInt16BE(NBD_FLAG_HAS_FLAGS | NBD_FLAG_READ_ONLY | NBD_FLAG_CAN_MULTI_CONN, 10);
  return info;
}

/** Any byte may be asked for; large requests are liked. */
function blockSizeInfo(): Buffer {
  const info = Buffer.alloc(14);
  info.writeUInt16BE(NBD_INFO_BLOCK_SIZE, 0);
  info.writeUInt32BE(1, 2);
  info.writeUInt32BE(64 * 1024, 6);
  info.writeUInt32BE(READ_BYTES_MAX, 10);
  return info;
}

function simpleReply(handle: Buffer, errno: number): Buffer {
  const reply = Buffer.alloc(16);
  reply.writeUInt32BE(NBD_SIMPLE_REPLY_MAGIC, 0);
  reply.writeUInt32BE(errno, 4);
  reply.set(handle, 8);
  return reply;
}

/** qemu-img asks for 2 MiB at a time, and for 8 of those at once. */
const READ_BYTES_MAX = 2 * MiB;
const REQUESTS_MAX = 16;
const EIO = 5;
const EINVAL = 22;
const NBD_FLAG_HAS_FLAGS = 1;
const NBD_FLAG_READ_ONLY = 2;
const NBD_FLAG_CAN_MULTI_CONN = 256;
const NBD_REQUEST_MAGIC = 0x2560_9513;
const NBD_SIMPLE_REPLY_MAGIC = 0x6744_6698;
const NBD_CMD_READ = 0;
const NBD_CMD_DISC = 2;
