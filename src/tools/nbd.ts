import { connect, type Socket } from "node:net";
import { AppError } from "#/domain/errors.ts";
import { ByteQueue } from "#/tools/byte-queue.ts";

/**
 * A reader's side of the Network Block Device protocol, as far as qemu-nbd speaks it to us: newstyle handshake, one export,
 * structured replies, in which a hole comes as a length instead of zeroes. Several reads may be under way at once.
 * Source: github.com/NetworkBlockDevice/nbd, doc/proto.md; the names in capitals are those of that text.
 */
export class NbdReader implements AsyncDisposable {
  readonly sizeBytes: number;
  readonly #socket: Socket;
  readonly #input: ByteQueue;
  readonly #pending = new Map<bigint, PendingRead>();
  #lastHandle = 0n;
  #broken: Error | undefined;

  private constructor(socket: Socket, input: ByteQueue, sizeBytes: number) {
    this.#socket = socket;
    this.#input = input;
    this.sizeBytes = sizeBytes;
    void this.#receiveReplies();
  }

  /** Connects to a server's socket. A missing or refusing socket is Node's own ENOENT or ECONNREFUSED. */
  static async connect(path: string): Promise<NbdReader> {
    const socket = connect({ path });
    await new Promise<void>((resolve, reject) => socket.once("connect", resolve).once("error", reject));
    const input = new ByteQueue(socket);
    try {
      return new NbdReader(socket, input, await shakeHands(socket, input));
    } catch (error) {
      socket.destroy();
      throw error;
    }
  }

  /** Fills `buffer` with the bytes from `offset` on. `zero` says that all of them are a hole, and the buffer was left as it was. */
  async read(buffer: Uint8Array, offset: number): Promise<{ readonly zero: boolean }> {
    if (this.#broken) throw this.#broken;
    const handle = ++this.#lastHandle;
    const { promise, resolve, reject } = Promise.withResolvers<{ zero: boolean }>();
    this.#pending.set(handle, { buffer, offset, resolve, reject, dataBytes: 0, holes: [] });
    this.#socket.write(readRequest(handle, offset, buffer.length));
    return promise;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#broken ??= new AppError("unavailable", "the connection was closed");
    const closed = new Promise<void>((resolve) => (this.#socket.closed ? resolve() : this.#socket.once("close", () => resolve())));
    this.#socket.destroy();
    await closed;
  }

  async #receiveReplies(): Promise<void> {
    try {
      for (;;) await this.#receiveReply();
    } catch (error) {
      this.#broken ??= new AppError("tool_failed", "the NBD server ended the connection", { cause: error });
      for (const { reject } of this.#pending.values()) reject(this.#broken);
      this.#pending.clear();
      this.#socket.destroy();
    }
  }

  async #receiveReply(): Promise<void> {
    const head = await this.#input.take(20);
    if (head.readUInt32BE(0) !== NBD_STRUCTURED_REPLY_MAGIC) throw new Error("an NBD reply has the wrong magic number");
    const [flags, type, handle, length] = [head.readUInt16BE(4), head.readUInt16BE(6), head.readBigUInt64BE(8), head.readUInt32BE(16)];
    const read = this.#pending.get(handle);
    if (!read) throw new Error(`an NBD reply to request ${handle}, which was never made`);
    await this.#receivePayload(read, type, length);
    if ((flags & NBD_REPLY_FLAG_DONE) === 0) return;
    this.#pending.delete(handle);
    settle(read);
  }

  async #receivePayload(read: PendingRead, type: number, length: number): Promise<void> {
    if (type === NBD_REPLY_TYPE_NONE) return;
    if (type >= NBD_REPLY_TYPE_ERROR) {
      const payload = await this.#input.take(length);
      read.error = new AppError("tool_failed", `the NBD server cannot read at byte ${read.offset}: error ${payload.readUInt32BE(0)}`);
      return;
    }
    const start = Number((await this.#input.take(8)).readBigUInt64BE()) - read.offset;
    if (type === NBD_REPLY_TYPE_OFFSET_HOLE) {
      read.holes.push({ start, end: start + (await this.#input.take(4)).readUInt32BE() });
    } else {
      read.dataBytes += length - 8;
      await this.#input.fill(read.buffer.subarray(start, start + length - 8));
    }
  }
}

interface PendingRead {
  readonly buffer: Uint8Array;
  readonly offset: number;
  readonly resolve: (result: { zero: boolean }) => void;
  readonly reject: (error: Error) => void;
  readonly holes: { start: number; end: number }[];
  dataBytes: number;
  error?: Error;
}

function settle(read: PendingRead): void {
  const coveredBytes = read.holes.reduce((sum, { start, end }) => sum + end - start, read.dataBytes);
  if (read.error) read.reject(read.error);
  else if (coveredBytes !== read.buffer.length)
    read.reject(new Error(`an NBD reply covers ${coveredBytes} of ${read.buffer.length} bytes`));
  else if (read.dataBytes === 0) read.resolve({ zero: true });
  else {
    for (const { start, end } of read.holes) read.buffer.fill(0, start, end);
    read.resolve({ zero: false });
  }
}

/** Agrees on structured replies and the unnamed export; returns the export's size. */
async function shakeHands(socket: Socket, input: ByteQueue): Promise<number> {
  const greeting = await input.take(18);
  if (greeting.toString("latin1", 0, 16) !== "NBDMAGICIHAVEOPT") throw new Error("the NBD server greets in another protocol");
  socket.write(Buffer.from([0, 0, 0, NBD_FLAG_C_FIXED_NEWSTYLE | NBD_FLAG_C_NO_ZEROES]));
  socket.write(option(NBD_OPT_STRUCTURED_REPLY, Buffer.alloc(0)));
  await optionReplies(input);
  socket.write(option(NBD_OPT_GO, Buffer.alloc(6))); // A name of length 0, and no wishes for information.
  const infos = await optionReplies(input);
  const info = infos.find((data) => data.readUInt16BE(0) === NBD_INFO_EXPORT);
  if (!info) throw new Error("the NBD server does not tell its size");
  return Number(info.readBigUInt64BE(2));
}

function option(number: number, data: Buffer): Buffer {
  const head = Buffer.alloc(16);
  head.write("IHAVEOPT", "latin1");
  head.writeUInt32BE(number, 8);
  head.writeUInt32BE(data.length, 12);
  return Buffer.concat([head, data]);
}

/** What the server says to an option, up to its acknowledgement. */
async function optionReplies(input: ByteQueue): Promise<Buffer[]> {
  const replies: Buffer[] = [];
  for (;;) {
    const head = await input.take(20);
    const [type, length] = [head.readUInt32BE(12), head.readUInt32BE(16)];
    const data = await input.take(length);
    if (type === NBD_REP_ACK) return replies;
    if (type >= NBD_REP_FLAG_ERROR) throw new AppError("tool_failed", `the NBD server refuses an option: ${data.toString()}`);
    replies.push(data);
  }
}

function readRequest(handle: bigint, offset: number, lengthBytes: number): Buffer {
  const request = Buffer.alloc(28);
  request.writeUInt32BE(NBD_REQUEST_MAGIC, 0);
  request.writeUInt16BE(NBD_CMD_READ, 6);
  request.writeBigUInt64BE(handle, 8);
  request.writeBigUInt64BE(BigInt(offset), 16);
  request.writeUInt32BE(lengthBytes, 24);
  return request;
}

const NBD_FLAG_C_FIXED_NEWSTYLE = 1;
const NBD_FLAG_C_NO_ZEROES = 2;
const NBD_OPT_GO = 7;
const NBD_OPT_STRUCTURED_REPLY = 8;
const NBD_REP_ACK = 1;
const NBD_REP_FLAG_ERROR = 0x8000_0000;
const NBD_INFO_EXPORT = 0;
const NBD_REQUEST_MAGIC = 0x2560_9513;
const NBD_CMD_READ = 0;
const NBD_STRUCTURED_REPLY_MAGIC = 0x668e_33ef;
const NBD_REPLY_FLAG_DONE = 1;
const NBD_REPLY_TYPE_NONE = 0;
const NBD_REPLY_TYPE_OFFSET_HOLE = 2;
const NBD_REPLY_TYPE_ERROR = 0x8000;
