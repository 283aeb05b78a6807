import { createConnection, type Socket } from "node:net";
import { AppError } from "#/domain/errors.ts";
import { type LibvirtError, readError } from "#/vm/libvirt/errors.ts";
import { encodeMessage, type Message, MessageDecoder } from "#/vm/libvirt/messages.ts";
import { CALLS, KEEPALIVE, MESSAGE, PROGRAM, type Procedure, STATUS_OK } from "#/vm/libvirt/protocol.ts";
import { type XdrReader, XdrWriter } from "#/vm/libvirt/xdr.ts";

/** libvirtd answers so many calls of one client at once (`max_client_requests`); a sixth would block all that come after it. */
export const CALLS_AT_ONCE = 5;

export interface ConnectionOptions {
  readonly socketPath: string;
  readonly uri: string;
  /** For a call that has no limit of its own. */
  readonly callTimeoutMs: number;
  /** How long the daemon may be silent before it is asked for a sign of life, and how often in vain. */
  readonly keepaliveIntervalMs: number;
  readonly keepaliveCountMax: number;
  readonly onEvent?: ((procedure: number, body: XdrReader) => void) | undefined;
}

export interface LimitedCall {
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

interface Waiting {
  resolve(body: XdrReader): void;
  reject(error: LibvirtError | AppError): void;
}

/**
 * One connection to libvirtd, over its unix socket. It ends at the first sign of trouble, and all that waits on it fails with
 * `hypervisor_unavailable`; a new one is to be opened then.
 */
export class Connection {
  readonly #socket: Socket;
  readonly #options: ConnectionOptions;
  readonly #decoder = new MessageDecoder();
  readonly #waiting = new Map<number, Waiting>();
  readonly #closed = Promise.withResolvers<AppError>();
  #serial = 0;
  #abandonedCount = 0;
  #ended: AppError | undefined;
  #silentTicks = 0;

  private constructor(socket: Socket, options: ConnectionOptions) {
    this.#socket = socket;
    this.#options = options;
    socket.on("data", (bytes: Buffer) => this.#receive(bytes));
    socket.on("error", (error) => this.#end(error.message, error));
    socket.on("close", () => this.#end("libvirtd closed the connection"));
    const timer = setInterval(() => this.#tick(), options.keepaliveIntervalMs).unref();
    void this.#closed.promise.then(() => clearInterval(timer));
  }

  /** Errors: `hypervisor_unavailable`, `tool_timed_out`, `cancelled`. */
  static async open(options: ConnectionOptions, limits: LimitedCall = {}): Promise<Connection> {
    const connection = new Connection(await connect(options, limits), options);
    try {
      await connection.#authenticate(limits);
      await connection.call(CALLS.supportsFeature, new XdrWriter().int(FEATURE_KEEPALIVE), limits);
      await connection.call(CALLS.connectOpen, new XdrWriter().optionalString(options.uri).int(0), limits);
      return connection;
    } catch (error) {
      connection.close();
      throw error;
    }
  }

  /** Resolves, with the reason, when it has ended. */
  get closed(): Promise<AppError> {
    return this.#closed.promise;
  }

  get isOpen(): boolean {
    return this.#ended === undefined;
  }

  /** Whether it takes another call: those that nobody waits for any more keep their place at the daemon's. */
  get hasRoom(): boolean {
    return this.isOpen && this.#abandonedCount === 0 && this.#waiting.size < CALLS_AT_ONCE;
  }

  /** Sends a call and waits for its answer. Rejects with a LibvirtError where that is a refusal; `tool_timed_out`, `hypervisor_unavailable`, `cancelled`. */
  call(procedure: Procedure, args: XdrWriter, { timeoutMs = this.#options.callTimeoutMs, signal }: LimitedCall = {}): Promise<XdrReader> {
    if (this.#ended) return Promise.reject(this.#ended);
    if (signal?.aborted) return Promise.reject(new AppError("cancelled", "it was cancelled", { cause: signal.reason }));
    const serial = ++this.#serial;
    const { promise, resolve, reject } = Promise.withResolvers<XdrReader>();
    const giveUp = (error: AppError) => {
      if (!this.#waiting.has(serial)) return;
      this.#abandonedCount += 1;
      this.#waiting.set(serial, { resolve: forget, reject: forget });
      reject(error);
      this.#closeWhenDeserted();
    };
    const forget = () => void (this.#abandonedCount -= 1);
    const cancel = () => giveUp(new AppError("cancelled", "it was cancelled", { cause: signal?.reason }));
    const timer = setTimeout(() => giveUp(new AppError("tool_timed_out", `libvirtd did not answer ${procedure.name} within ${Math.round(timeoutMs)} ms`)), timeoutMs);
    this.#waiting.set(serial, { resolve, reject });
    signal?.addEventListener("abort", cancel, { once: true });
    this.#send({ program: procedure.program, procedure: procedure.number, type: MESSAGE.call, serial, body: args.finish() });
    return promise.finally(() => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", cancel);
    });
  }

  close(): void {
    this.#end("the connection was closed");
  }

  /** Only unix sockets that trust whoever may open them: root's, or those of a group. */
  async #authenticate(limits: LimitedCall): Promise<void> {
    const reply = await this.call(CALLS.authList, new XdrWriter(), limits);
    const types = reply.array(() => reply.int());
    if (types.length === 0 || types.includes(AUTH_NONE)) return;
    throw unavailable(`libvirtd at ${this.#options.socketPath} asks this user to log in: set auth_unix_rw = "none" in libvirtd.conf, or run as root`);
  }

  #send(message: Parameters<typeof encodeMessage>[0]): void {
    this.#socket.write(encodeMessage(message));
  }

  #receive(bytes: Buffer): void {
    this.#silentTicks = 0;
    try {
      for (const message of this.#decoder.push(bytes)) this.#dispatch(message);
    } catch (error) {
      this.#end(`libvirtd sent what is no message: ${(error as Error).message}`, error);
    }
  }

  #dispatch(message: Message): void {
    const { program, procedure, type, serial } = message;
    if (program === PROGRAM.keepalive) {
      if (procedure === KEEPALIVE.ping) this.#keepalive(KEEPALIVE.pong);
    } else if (type === MESSAGE.reply) {
      this.#answer(serial, message);
    } else if (type === MESSAGE.event && program === PROGRAM.remote) {
      this.#options.onEvent?.(procedure, message.body);
    }
  }

  #answer(serial: number, { status, body }: Message): void {
    const waiting = this.#waiting.get(serial);
    this.#waiting.delete(serial);
    if (status === STATUS_OK) waiting?.resolve(body);
    else waiting?.reject(readError(body));
  }

  #tick(): void {
    if (this.#silentTicks > this.#options.keepaliveCountMax) {
      this.#end(`libvirtd gave no sign of life for ${this.#silentTicks * this.#options.keepaliveIntervalMs} ms`);
    } else {
      this.#silentTicks += 1;
      this.#keepalive(KEEPALIVE.ping);
    }
  }

  #keepalive(procedure: number): void {
    this.#send({ program: PROGRAM.keepalive, procedure, type: MESSAGE.event, serial: 0, body: Buffer.alloc(0) });
  }

  /** One with a deserted call takes no others: it goes when the last caller has its answer. */
  #closeWhenDeserted(): void {
    if (this.#abandonedCount === this.#waiting.size) this.close();
  }

  #end(because: string, cause?: unknown): void {
    if (this.#ended) return;
    this.#ended = unavailable(because, cause);
    this.#socket.destroy();
    for (const { reject } of this.#waiting.values()) reject(this.#ended);
    this.#waiting.clear();
    this.#closed.resolve(this.#ended);
  }
}

const AUTH_NONE = 0;
/** VIR_DRV_FEATURE_PROGRAM_KEEPALIVE: the daemon pings too, and ends the connection of a client that does not answer. */
const FEATURE_KEEPALIVE = 10;

function unavailable(because: string, cause?: unknown): AppError {
  return new AppError("hypervisor_unavailable", because, { cause });
}

async function connect({ socketPath, callTimeoutMs }: ConnectionOptions, { timeoutMs = callTimeoutMs, signal }: LimitedCall): Promise<Socket> {
  const { promise, resolve, reject } = Promise.withResolvers<Socket>();
  const socket = createConnection(socketPath);
  const refuse = (error: AppError) => {
    socket.destroy();
    reject(error);
  };
  const cancel = () => refuse(new AppError("cancelled", "it was cancelled", { cause: signal?.reason }));
  const timer = setTimeout(() => refuse(unavailable(`libvirtd at ${socketPath} did not answer within ${timeoutMs} ms`)), timeoutMs);
  socket.once("connect", () => resolve(socket));
  socket.once("error", (error) => refuse(unavailable(`libvirtd does not listen at ${socketPath}: ${error.message}`, error)));
  signal?.addEventListener("abort", cancel, { once: true });
  return promise.finally(() => {
    clearTimeout(timer);
    signal?.removeEventListener("abort", cancel);
    socket.removeAllListeners();
    socket.on("error", () => {}); // Until the connection listens.
  });
}
