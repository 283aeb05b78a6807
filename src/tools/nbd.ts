import { connect, type Socket } from "node:net";
import { AppError } from "#/domain/errors.ts";
import { ByteQueue } from "#/lib/byte-queue.ts";
import {
  clientFlags,
  GREETING_BYTES,
  isGreeting,
  nameWithoutWishes,
  NBD_INFO_EXPORT,
  NBD_OPT_GO,
  NBD_OPT_STRUCTURED_REPLY,
  NBD_REP_ACK,
  NBD_REP_FLAG_ERROR,
  OPTION_REPLY_HEAD_BYTES,
  option,
} from "#/tools/nbd-messages.ts";

/**
 * The client's side of the Network Block Device protocol, as far as qemu-nbd speaks it to us: newstyle handshake, one export,
 * structured replies, in which a hole comes as a length instead of zeroes. Several requests may be under way at once.
 * Source: github.com/NetworkBlockDevice/nbd, doc/proto.md; the names in capitals are those of that text.
 */
export class NbdClient implements AsyncDisposable {
  readonly sizeBytes: number;
  readonly #socket: Socket;
  readonly #input: ByteQueue;
  readonly #pending = new Map<bigint, Pending>();
  #lastHandle = 0n;
  #broken: Error | undefined;

  private constructor(socket: Socket, input: ByteQueue, sizeBytes: number) {
    this.#socket = socket;
    this.#input = input;
    this.sizeBytes = sizeBytes;
    void this.#receiveReplies();
  }

  /** Connects to a server's socket, for the export of that name. A missing or refusing socket is Node's own ENOENT or ECONNREFUSED. */
  static async connect(path: string, name = ""): Promise<NbdClient> {
    const socket = connect({ path });
    await new Promise<void>((resolve, reject) => socket.once("connect", resolve).once("error", reject));
    const input = new ByteQueue(socket);
    try {
      return new NbdClient(socket, input, await shakeHands(socket, input, name));
    } catch (error) {
      socket.destroy();
      throw error;
    }
  }

  /** Fills `buffer` with the bytes from `offset` on. `zero` says that all of them are a hole, and the buffer was left as it was. */
  async read(buffer: Uint8Array, offset: number): Promise<{ readonly zero: boolean }> {
    const { promise, resolve, reject } = Promise.withResolvers<{ zero: boolean }>();
    const head = this.#begin(new PendingRead(buffer, offset, resolve, reject), NBD_CMD_READ, offset, buffer.length);
    this.#socket.write(head);
    return promise;
  }

  /** The bytes may be changed once it is resolved. */
  async write(bytes: Uint8Array, offset: number): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const head = this.#begin(new PendingChange(`write at byte ${offset}`, resolve, reject), NBD_CMD_WRITE, offset, bytes.length);
    this.#socket.cork();
    this.#socket.write(head);
    this.#socket.write(bytes);
    this.#socket.uncork();
    return promise;
  }

  /** Has the server make a range read as zeroes, at most 4 GiB - 1 long: nothing is sent, and it may free the space. */
  async writeZeroes(offset: number, lengthBytes: number): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const pending = new PendingChange(`write zeroes at byte ${offset}`, resolve, reject);
    this.#socket.write(this.#begin(pending, NBD_CMD_WRITE_ZEROES, offset, lengthBytes));
    return promise;
  }

  /** All that was written is on stable storage once it is resolved. */
  async flush(): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#socket.write(this.#begin(new PendingChange("flush", resolve, reject), NBD_CMD_FLUSH, 0, 0));
    return promise;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#broken ??= new AppError("unavailable", "the connection was closed");
    const closed = new Promise<void>((resolve) => (this.#socket.closed ? resolve() : this.#socket.once("close", () => resolve())));
    this.#socket.destroy();
    await closed;
  }

  /** The head of a request that waits for its reply from now on. */
  #begin(pending: Pending, command: number, offset: number, lengthBytes: number): Buffer {
    if (this.#broken) throw this.#broken;
    const handle = ++this.#lastHandle;
    this.#pending.set(handle, pending);
    return request(command, handle, offset, lengthBytes);
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
    const magic = (await this.#input.take(4)).readUInt32BE(0);
    if (magic === NBD_SIMPLE_REPLY_MAGIC) return this.#receiveSimpleReply();
    if (magic !== NBD_STRUCTURED_REPLY_MAGIC) throw new Error("an NBD reply has the wrong magic number");
    const head = await this.#input.take(16);
    const [flags, type, handle, length] = [head.readUInt16BE(0), head.readUInt16BE(2), head.readBigUInt64BE(4), head.readUInt32BE(12)];
    const pending = this.#find(handle);
    if (type >= NBD_REPLY_TYPE_ERROR) pending.refuse((await this.#input.take(length)).readUInt32BE(0));
    else if (type !== NBD_REPLY_TYPE_NONE) await pending.receive(this.#input, type, length);
    if (flags & NBD_REPLY_FLAG_DONE) this.#end(handle);
  }

  async #receiveSimpleReply(): Promise<void> {
    const head = await this.#input.take(12);
    const [error, handle] = [head.readUInt32BE(0), head.readBigUInt64BE(4)];
    if (error !== 0) this.#find(handle).refuse(error);
    this.#end(handle);
  }

  #find(handle: bigint): Pending {
    const pending = this.#pending.get(handle);
    if (!pending) throw new Error(`an NBD reply to request ${handle}, which was never made`);
    return pending;
  }

  #end(handle: bigint): void {
    const pending = this.#find(handle);
    this.#pending.delete(handle);
    pending.settle();
  }
}

/** A request that was sent. */
interface Pending {
  /** Takes the payload of a reply. */
  receive(input: ByteQueue, type: number, length: number): Promise<void>;
  refuse(errno: number): void;
  /** The last reply has come. */
  settle(): void;
  reject(error: Error): void;
}

class PendingRead implements Pending {
  readonly #buffer: Uint8Array;
  readonly #offset: number;
  readonly #resolve: (result: { readonly zero: boolean }) => void;
  readonly reject: (error: Error) => void;
  readonly #holes: { readonly start: number; readonly end: number }[] = [];
  #dataBytes = 0;
  #error: Error | undefined;

  constructor(buffer: Uint8Array, offset: number, resolve: (result: { readonly zero: boolean }) => void, reject: (error: Error) => void) {
    this.#buffer = buffer;
    this.#offset = offset;
    this.#resolve = resolve;
    this.reject = reject;
  }

  async receive(input: ByteQueue, type: number, length: number): Promise<void> {
    const start = Number((await input.take(8)).readBigUInt64BE()) - this.#offset;
    if (type === NBD_REPLY_TYPE_OFFSET_HOLE) {
      this.#holes.push({ start, end: start + (await input.take(4)).readUInt32BE() });
    } else {
      this.#dataBytes += length - 8;
      await input.fill(this.#buffer.subarray(start, start + length - 8));
    }
  }

  refuse(errno: number): void {
    this.#error = refusal(`read at byte ${this.#offset}`, errno);
  }

  settle(): void {
    const coveredBytes = this.#holes.reduce((sum, { start, end }) => sum + end - start, this.#dataBytes);
    if (this.#error) this.reject(this.#error);
    else if (coveredBytes !== this.#buffer.length)
      this.reject(new Error(`an NBD reply covers ${coveredBytes} of ${this.#buffer.length} bytes`));
    else if (this.#dataBytes === 0) this.#resolve({ zero: true });
    else {
      for (const { start, end } of this.#holes) this.#buffer.fill(0, start, end);
      this.#resolve({ zero: false });
    }
  }
}

class PendingChange implements Pending {
  readonly #doing: string;
  readonly #resolve: () => void;
  readonly reject: (error: Error) => void;
  #error: Error | undefined;

  constructor(doing: string, resolve: () => void, reject: (error: Error) => void) {
    this.#doing = doing;
    this.#resolve = resolve;
    this.reject = reject;
  }

  async receive(_input: ByteQueue, type: number): Promise<void> {
    throw new Error(`an NBD reply of type ${type} to a ${this.#doing}`);
  }

  refuse(errno: number): void {
    this.#error = refusal(this.#doing, errno);
  }

  settle(): void {
    if (this.#error) this.reject(this.#error);
    else this.#resolve();
  }
}

/** The numbers are those of Linux: the protocol has taken them over. */
function refusal(doing: string, errno: number): AppError {
  const isFull = errno === NBD_ENOSPC;
  return new AppError(isFull ? "pool_full" : "tool_failed", `the NBD server cannot ${doing}: ${isFull ? "no space left" : `error ${errno}`}`);
}

/** Agrees on structured replies and the export; returns its size. */
async function shakeHands(socket: Socket, input: ByteQueue, name: string): Promise<number> {
  if (!isGreeting(await input.take(GREETING_BYTES))) throw new Error("the NBD server greets in another protocol");
  socket.write(clientFlags());
  socket.write(option(NBD_OPT_STRUCTURED_REPLY));
  await optionReplies(input);
  socket.write(option(NBD_OPT_GO, nameWithoutWishes(name)));
  const infos = await optionReplies(input);
  const info = infos.find((data) => data.readUInt16BE(0) === NBD_INFO_EXPORT);
  if (!info) throw new Error("the NBD server does not tell its size");
  return Number(info.readBigUInt64BE(2));
}

/** What the server says to an option, up to its acknowledgement. */
async function optionReplies(input: ByteQueue): Promise<Buffer[]> {
  const replies: Buffer[] = [];
  for (;;) {
    const head = await input.take(OPTION_REPLY_HEAD_BYTES);
    const [type, length] = [head.readUInt32BE(12), head.readUInt32BE(16)];
    const data = await input.take(length);
    if (type === NBD_REP_ACK) return replies;
    if (type >= NBD_REP_FLAG_ERROR) throw new AppError("tool_failed", `the NBD server refuses an option: ${data.toString()}`);
    replies.push(data);
  }
}

function request(command: number, handle: bigint, offset: number, lengthBytes: number): Buffer {
  const head = Buffer.alloc(28);
  head.writeUInt32BE(NBD_REQUEST_MAGIC, 0);
  head.writeUInt16BE(command, 6);
  head.writeBigUInt64BE(handle, 8);
  head.writeBigUInt64BE(BigInt(offset), 16);
  head.writeUInt32BE(lengthBytes, 24);
  return head;
}

const NBD_REQUEST_MAGIC = 0x2560_9513;
const NBD_CMD_READ = 0;
const NBD_CMD_WRITE = 1;
const NBD_CMD_FLUSH = 3;
const NBD_CMD_WRITE_ZEROES = 6;
const NBD_ENOSPC = 28;
const NBD_SIMPLE_REPLY_MAGIC = 0x6744_6698;
const NBD_STRUCTURED_REPLY_MAGIC = 0x668e_33ef;
const NBD_REPLY_FLAG_DONE = 1;
const NBD_REPLY_TYPE_NONE = 0;
const NBD_REPLY_TYPE_OFFSET_HOLE = 2;
const NBD_REPLY_TYPE_ERROR = 0x8000;
