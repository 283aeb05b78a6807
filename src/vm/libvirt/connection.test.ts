import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { AppError, type ErrorCode } from "#/domain/errors.ts";
import { Connection, type ConnectionOptions } from "#/vm/libvirt/connection.ts";
import { Connections } from "#/vm/libvirt/connections.ts";
import { LibvirtError } from "#/vm/libvirt/errors.ts";
import { encodeMessage, type Message, MessageDecoder } from "#/vm/libvirt/messages.ts";
import { CALLS, KEEPALIVE, MESSAGE, PROGRAM } from "#/vm/libvirt/protocol.ts";
import { XdrWriter } from "#/vm/libvirt/xdr.ts";

/** What a real libvirtd does only when it is ill; test/real/vm-libvirt.test.ts speaks with a healthy one. */
describe("a connection to libvirtd", () => {
  it("gives each caller his own answer, in whatever order and pieces they come", async () => {
    const held: (() => void)[] = [];
    await using daemon = await startDaemon((message, socket) => {
      const reply = replyTo(message, new XdrWriter().string(`answer ${message.serial}`));
      held.unshift(() => [...reply].forEach((byte) => socket.write(Buffer.from([byte]))));
      if (held.length === 5) for (const send of held) send();
    });
    const connection = await Connection.open(daemon.options);
    const answers = await Promise.all([1, 2, 3, 4, 5].map(async () => (await connection.call(CALLS.getHostname, new XdrWriter())).string()));
    assert.deepEqual(answers, [4, 5, 6, 7, 8].map((serial) => `answer ${serial}`));
    connection.close();
  });

  it("gives refusals in libvirt's words, without what could steer a terminal", async () => {
    await using daemon = await startDaemon((message, socket) => socket.write(refusalOf(message, 42, "no domain \u001b[31m")));
    const connection = await Connection.open(daemon.options);
    await assert.rejects(connection.call(CALLS.getHostname, new XdrWriter()), (error) => error instanceof LibvirtError && error.number === 42 && error.message === "no domain \\x1b[31m");
    connection.close();
  });

  it("a call that is not answered ends at its limit, and its connection takes no more; others are answered on another", async () => {
    let silent = true;
    await using daemon = await startDaemon((message, socket) => silent || socket.write(replyTo(message, new XdrWriter().string("here"))));
    using connections = new Connections({ ...daemon.options, connectionsMax: 1 });
    await rejectsWith("tool_timed_out", connections.call(CALLS.getHostname, new XdrWriter(), { timeoutMs: 50 }));
    silent = false;
    assert.equal((await connections.call(CALLS.getHostname, new XdrWriter())).string(), "here");
    assert.equal(daemon.connectionCount(), 2);
  });

  it("a daemon that takes connections and says nothing keeps no call longer than its limit, nor one that is cancelled", async () => {
    await using daemon = await startDaemon(() => {}, "silent");
    using connections = new Connections({ ...daemon.options, connectionsMax: 1 });
    const began = performance.now();
    await rejectsWith("tool_timed_out", connections.call(CALLS.getHostname, new XdrWriter(), { timeoutMs: 50 }));
    await rejectsWith("cancelled", connections.call(CALLS.getHostname, new XdrWriter(), { signal: AbortSignal.timeout(50) }));
    assert.ok(performance.now() - began < 2000);
  });

  it("never has more than five calls under way on a connection, and opens no more connections than it may", async () => {
    let underWay = 0;
    let most = 0;
    await using daemon = await startDaemon((message, socket) => {
      most = Math.max(most, ++underWay);
      setTimeout(() => {
        underWay -= 1;
        socket.write(replyTo(message, new XdrWriter().string("here")));
      }, 5);
    });
    using connections = new Connections({ ...daemon.options, connectionsMax: 2 });
    await Promise.all(Array.from({ length: 40 }, () => connections.call(CALLS.getHostname, new XdrWriter())));
    assert.deepEqual([most, daemon.connectionCount()], [10, 2]);
  });

  it("all that wait fail when it closes, and a cancelled call at once", async () => {
    await using daemon = await startDaemon((_, socket) => void setTimeout(() => socket.destroy(), 50));
    const connection = await Connection.open(daemon.options);
    const stop = new AbortController();
    const waiting = [connection.call(CALLS.getHostname, new XdrWriter()), connection.call(CALLS.getHostname, new XdrWriter(), { signal: stop.signal })] as const;
    stop.abort();
    await rejectsWith("cancelled", waiting[1]);
    await rejectsWith("hypervisor_unavailable", waiting[0]);
    await rejectsWith("hypervisor_unavailable", connection.call(CALLS.getHostname, new XdrWriter()));
  });

  it("answers pings, and gives up a daemon that does not answer its own", async () => {
    const pings: number[] = [];
    await using daemon = await startDaemon((message, socket) => {
      if (message.program === PROGRAM.keepalive) pings.push(message.procedure);
      else socket.write(encodeMessage({ program: PROGRAM.keepalive, procedure: KEEPALIVE.ping, type: MESSAGE.event, serial: 0, body: Buffer.alloc(0) }));
    });
    const connection = await Connection.open({ ...daemon.options, keepaliveIntervalMs: 20, keepaliveCountMax: 2 });
    await rejectsWith("hypervisor_unavailable", connection.call(CALLS.getHostname, new XdrWriter()));
    assert.match((await connection.closed).message, /no sign of life/);
    assert.equal(pings[0], KEEPALIVE.pong);
    assert.ok(pings.filter((procedure) => procedure === KEEPALIVE.ping).length >= 2);
  });

  it("ends at what is no message: too long, too short, or a body that is cut", async () => {
    const lengths = [new XdrWriter().int(0x7fffffff).finish(), new XdrWriter().int(8).finish()];
    for (const bytes of lengths) {
      await using daemon = await startDaemon((_, socket) => socket.write(bytes));
      const connection = await Connection.open(daemon.options);
      await rejectsWith("hypervisor_unavailable", connection.call(CALLS.getHostname, new XdrWriter()));
      assert.match((await connection.closed).message, /no message/);
    }
  });

  it("says where nobody listens, and where the daemon asks for a password", async () => {
    await using daemon = await startDaemon(() => {}, [1, 2]);
    assert.match((await rejectsWith("hypervisor_unavailable", Connection.open(daemon.options))).message, /log in/);
    assert.match((await rejectsWith("hypervisor_unavailable", Connection.open({ ...daemon.options, socketPath: "/nowhere/sock" }))).message, /nowhere/);
  });
});

interface Daemon extends AsyncDisposable {
  readonly options: ConnectionOptions;
  connectionCount(): number;
}

/** A socket that opens connections as libvirtd does, unless it knows no way to log in; all other messages go to the test. */
async function startDaemon(onMessage: (message: Message, socket: Socket) => unknown, authTypes: readonly number[] | "silent" = [0]): Promise<Daemon> {
  const folder = await mkdtemp(join(tmpdir(), "mica-fake-libvirtd-"));
  const socketPath = join(folder, "sock");
  const sockets = new Set<Socket>();
  let connectionCount = 0;
  const server = createServer((socket) => {
    connectionCount += 1;
    sockets.add(socket);
    const decoder = new MessageDecoder();
    socket.on("error", () => {});
    socket.on("data", (bytes: Buffer) => {
      for (const message of decoder.push(bytes)) {
        const opening = authTypes === "silent" ? undefined : openingReply(message, authTypes);
        if (opening) socket.write(opening);
        else onMessage(message, socket);
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(socketPath, resolve));
  return {
    options: { socketPath, uri: "qemu:///system", callTimeoutMs: 5000, keepaliveIntervalMs: 60_000, keepaliveCountMax: 3 },
    connectionCount: () => connectionCount,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
      await rm(folder, { recursive: true });
    },
  };
}

function openingReply(message: Message, authTypes: readonly number[]): Buffer | undefined {
  if (message.program !== PROGRAM.remote) return undefined;
  const types = authTypes.reduce((writer, type) => writer.int(type), new XdrWriter().int(authTypes.length));
  if (message.procedure === CALLS.authList.number) return replyTo(message, types);
  if (message.procedure === CALLS.supportsFeature.number) return replyTo(message, new XdrWriter().int(1));
  return message.procedure === CALLS.connectOpen.number ? replyTo(message, new XdrWriter()) : undefined;
}

function replyTo({ program, procedure, serial }: Message, body: XdrWriter): Buffer {
  return encodeMessage({ program, procedure, type: MESSAGE.reply, serial, body: body.finish() });
}

function refusalOf(message: Message, number: number, words: string): Buffer {
  const body = new XdrWriter().int(number).int(10).optionalString(words).int(2).int(0).optionalString(undefined).optionalString(undefined).optionalString(undefined);
  const bytes = replyTo(message, body.int(0).int(0).int(0));
  bytes.writeInt32BE(1, 24); // The status of the header: an error.
  return bytes;
}

async function rejectsWith(code: ErrorCode, work: Promise<unknown>): Promise<AppError> {
  const error = await work.then(() => assert.fail("it succeeded"), (refused: unknown) => refused);
  assert.ok(error instanceof AppError, `it is an AppError: ${error}`);
  assert.equal(error.code, code, error.message);
  return error;
}
