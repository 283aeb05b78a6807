import { once } from "node:events";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import { createServer as createTlsServer, type Server as TlsServer, type TLSSocket } from "node:tls";
import { asAppError } from "#/domain/errors.ts";
import type { Log } from "#/lib/log.ts";
import { MINUTE_MS, SECOND_MS } from "#/lib/units.ts";
import { DiskServers, type ServedDisk } from "#/tools/disk-servers.ts";
import { HandshakeReader } from "#/tools/handshake-reader.ts";
import * as nbd from "#/tools/nbd-messages.ts";
import type { TlsIdentity } from "#/tools/tls-folder.ts";

/** Gives the disk that has the name, anew for each connection; undefined where none has. */
export type FindDisk = (name: string) => Promise<ServedDisk | undefined>;

export interface NbdFrontOptions {
  readonly host: string;
  /** 0 is any that is free. */
  readonly port: number;
  /** Of the server; clients must show one of the same authority. */
  readonly tls: TlsIdentity;
  readonly find: FindDisk;
  readonly log: Log;
  /** What a client may take until it asks for TLS, and again for that. */
  readonly handshakeMsMax?: number;
}

const HANDSHAKE_MS_MAX = 10 * SECOND_MS;
/** Then, until its disk is open, which may be far away itself. */
const OPENING_MS_MAX = MINUTE_MS;
const OPTIONS_MAX = 64;
/** Clients that have not shown a certificate yet, and all together: each disk of each guest is one. */
export const STRANGERS_MAX = 64;
const CONNECTIONS_MAX = 4096;
/** After so long without a word the other side is asked whether it is there: a host that went away leaves its disks locked. */
const KEEP_ALIVE_MS = 15 * SECOND_MS;
const REASON_LENGTH_MAX = 1000;

/**
 * Disks of this machine for other hosts, by NBD over TLS: each side must show a certificate, plain clients are refused. It speaks only as far as the name
 * of the disk, and then passes all bytes on to a confined qemu-nbd of that disk. A client that does not keep to the protocol loses its own connection.
 * Source: github.com/NetworkBlockDevice/nbd, doc/proto.md.
 */
export class NbdFront implements AsyncDisposable {
  readonly port: number;
  readonly #options: NbdFrontOptions;
  readonly #handshakeMsMax: number;
  readonly #server: Server;
  /** Never listens: it gets connections that have asked for TLS. */
  readonly #tls: TlsServer;
  readonly #disks = new DiskServers();
  readonly #sockets = new Set<Duplex>();
  readonly #strangers = new Set<Socket>();
  readonly #atWork = new Set<Promise<void>>();

  private constructor(options: NbdFrontOptions, server: Server) {
    this.#options = options;
    this.#handshakeMsMax = options.handshakeMsMax ?? HANDSHAKE_MS_MAX;
    this.#server = server;
    this.port = (server.address() as AddressInfo).port;
    this.#tls = createTlsServer({ ...options.tls, requestCert: true, rejectUnauthorized: true, handshakeTimeout: this.#handshakeMsMax });
    this.#tls.on("secureConnection", (socket) => this.#watch(socket, this.#openDisk(socket)));
    this.#tls.on("tlsClientError", (error, socket) => this.#refused(socket, error));
    server.on("connection", (socket) => this.#watch(socket, this.#greet(socket)));
  }

  static async listen(options: NbdFrontOptions): Promise<NbdFront> {
    const server = createServer({ keepAlive: true, keepAliveInitialDelay: KEEP_ALIVE_MS, noDelay: true });
    server.maxConnections = CONNECTIONS_MAX;
    server.listen(options.port, options.host);
    await once(server, "listening");
    return new NbdFront(options, server);
  }

  /** Waits until no program has the disk open any more that nobody is connected with: for who is to change it in another way. `disk` is its name up to, not with, the last slash. */
  async released(disk: string): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve)); // Who has left already may not have been noticed.
    await this.#disks.released(disk);
  }

  /** Sends away all who have the disk open, and waits until no program has. What they were told is written is kept. */
  async close(disk: string): Promise<void> {
    await this.#disks.close(disk);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const socket of this.#sockets) socket.destroy();
    await Promise.all([closed, ...this.#atWork]);
    await this.#disks[Symbol.asyncDispose]();
  }

  /** A connection and its work, until both have ended. */
  #watch(socket: Duplex, work: Promise<void>): void {
    this.#sockets.add(socket);
    socket.once("close", () => this.#sockets.delete(socket));
    socket.on("error", () => {}); // The client is gone; there is nobody to tell.
    const ended = work
      .catch((error: unknown) => {
        this.#options.log.warn({ err: error }, "a connection over NBD failed");
        socket.destroy();
      })
      .finally(() => this.#atWork.delete(ended));
    this.#atWork.add(ended);
  }

  async #greet(socket: Socket): Promise<void> {
    if (this.#strangers.size >= STRANGERS_MAX) return void socket.destroy();
    this.#strangers.add(socket);
    socket.once("close", () => this.#strangers.delete(socket));
    const wantsTls = await within(this.#handshakeMsMax, socket, () => untilTls(socket));
    if (wantsTls) this.#tls.emit("connection", socket);
    else socket.destroy();
  }

  /** Also one that has taken too long, which nobody else would end. */
  #refused(socket: TLSSocket, { message }: Error): void {
    this.#options.log.info({ from: socket.remoteAddress, because: message }, "a connection over NBD was refused");
    socket.destroy();
  }

  async #openDisk(socket: TLSSocket): Promise<void> {
    this.#admit(socket);
    const wish = await within(OPENING_MS_MAX, socket, () => this.#untilDisk(socket));
    if (!wish) return void socket.destroy();
    const { name, disk, upstream } = wish;
    const subject = socket.getPeerCertificate().subject?.CN;
    const fields = { export: name, mode: disk.mode, from: socket.remoteAddress, subject };
    this.#options.log.info(fields, "a disk was opened over NBD");
    await relay(socket, upstream);
    this.#options.log.info({ ...fields, bytesReceived: socket.bytesRead, bytesSent: socket.bytesWritten }, "a disk was closed over NBD");
  }

  /** It has shown its certificate. */
  #admit(socket: TLSSocket): void {
    for (const stranger of this.#strangers) if (stranger.remotePort === socket.remotePort && stranger.remoteAddress === socket.remoteAddress) this.#strangers.delete(stranger);
  }

  /** Settles the options up to the first that names a disk, and passes that one on. */
  async #untilDisk(socket: TLSSocket): Promise<Opened | undefined> {
    using reader = new HandshakeReader(socket);
    let structured = false;
    for await (const { number, data, bytes } of optionsOf(socket, reader)) {
      if (number === nbd.NBD_OPT_STRUCTURED_REPLY && data.length === 0) {
        structured = true;
        socket.write(nbd.optionReply(number, nbd.NBD_REP_ACK));
      } else if (NAMING.includes(number)) {
        const opened = await this.#open(nbd.exportName(data), structured).catch((error: unknown) => this.#cannotOpen(error));
        if (typeof opened === "object") {
          opened.upstream.write(bytes);
          return opened;
        }
        socket.write(nbd.optionReply(number, nbd.NBD_REP_ERR_UNKNOWN, Buffer.from(opened)));
      } else socket.write(nbd.optionReply(number, nbd.NBD_REP_ERR_UNSUP));
    }
    return undefined;
  }

  /** The disk with a connection to its server that stands where the client's does; else why there is none. */
  async #open(name: string, structured: boolean): Promise<Opened | string> {
    const disk = await this.#options.find(name);
    if (!disk) return "there is no such disk";
    const upstream = await this.#disks.connect(name, disk);
    upstream.on("error", () => upstream.destroy());
    if (await enter(upstream, structured)) return { name, disk, upstream };
    upstream.destroy();
    return "its server speaks another protocol";
  }

  #cannotOpen(error: unknown): string {
    this.#options.log.warn({ err: error }, "a disk cannot be opened over NBD");
    return (asAppError(error)?.message ?? "the disk cannot be opened").slice(0, REASON_LENGTH_MAX);
  }
}

interface Opened {
  readonly name: string;
  readonly disk: ServedDisk;
  readonly upstream: Socket;
}

/** The options whose data begins with the name of an export. */
const NAMING: readonly number[] = [nbd.NBD_OPT_INFO, nbd.NBD_OPT_GO, nbd.NBD_OPT_LIST_META_CONTEXT, nbd.NBD_OPT_SET_META_CONTEXT];

/** Work that a client has only so much time for: then its connection ends, and with it the work. */
async function within<T>(timeoutMs: number, socket: Duplex, work: () => Promise<T>): Promise<T> {
  const timer = setTimeout(() => socket.destroy(), timeoutMs);
  try {
    return await work();
  } finally {
    clearTimeout(timer);
  }
}

/** Whether the client asks for TLS, which comes before all else. */
async function untilTls(socket: Socket): Promise<boolean> {
  using reader = new HandshakeReader(socket);
  socket.write(nbd.greeting());
  if (!(await reader.take(nbd.clientFlags().length))) return false;
  for await (const { number, data } of optionsOf(socket, reader)) {
    const isTls = number === nbd.NBD_OPT_STARTTLS;
    if (isTls && data.length === 0) {
      socket.write(nbd.optionReply(number, nbd.NBD_REP_ACK));
      return true;
    }
    socket.write(nbd.optionReply(number, isTls ? nbd.NBD_REP_ERR_INVALID : nbd.NBD_REP_ERR_TLS_REQD));
  }
  return false;
}

interface ClientOption {
  readonly number: number;
  readonly data: Buffer;
  /** All of it, to be passed on. */
  readonly bytes: Buffer;
}

/** The options of a client that keeps to the protocol, up to the one by which it leaves. The old way to name an export has no answer, and is not taken. */
async function* optionsOf(socket: Duplex, reader: HandshakeReader): AsyncGenerator<ClientOption, void, undefined> {
  for (let count = 0; count < OPTIONS_MAX; count += 1) {
    const head = await reader.take(nbd.OPTION_HEAD_BYTES);
    const option = head && nbd.readOptionHead(head);
    if (!option || option.lengthBytes > nbd.OPTION_BYTES_MAX || option.number === nbd.NBD_OPT_EXPORT_NAME) return;
    const data = await reader.take(option.lengthBytes);
    if (!data) return;
    if (option.number === nbd.NBD_OPT_ABORT) return void socket.end(nbd.optionReply(option.number, nbd.NBD_REP_ACK));
    yield { number: option.number, data, bytes: Buffer.concat([head, data]) };
  }
}

/** Brings a fresh connection with a server to where the client's is; false where the server is none of NBD. */
async function enter(upstream: Socket, structured: boolean): Promise<boolean> {
  using reader = new HandshakeReader(upstream);
  const greeting = await reader.take(nbd.GREETING_BYTES);
  if (!greeting || !nbd.isGreeting(greeting)) return false;
  upstream.write(nbd.clientFlags());
  if (!structured) return true;
  upstream.write(nbd.option(nbd.NBD_OPT_STRUCTURED_REPLY));
  const reply = await reader.take(nbd.OPTION_REPLY_HEAD_BYTES);
  return reply?.readUInt32BE(12) === nbd.NBD_REP_ACK;
}

/** Passes bytes both ways until one side has left. */
async function relay(client: Duplex, upstream: Duplex): Promise<void> {
  client.pipe(upstream).pipe(client);
  await Promise.race([closed(client), closed(upstream)]);
  client.destroy();
  upstream.destroy();
}

function closed(stream: Duplex): Promise<void> {
  return new Promise((resolve) => (stream.closed ? resolve() : stream.once("close", () => resolve())));
}
