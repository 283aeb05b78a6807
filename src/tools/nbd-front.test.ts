import assert from "node:assert/strict";
import { mkdtemp, open as openFile, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { connect as connectTls, type TLSSocket } from "node:tls";
import fc from "fast-check";
import { type BlockNode, overlayNode, remoteNode } from "#/domain/block-node.ts";
import { AppError } from "#/domain/errors.ts";
import { silentLog } from "#/lib/log.ts";
import { KiB, MiB } from "#/lib/units.ts";
import { HandshakeReader } from "#/tools/handshake-reader.ts";
import { NbdFront, STRANGERS_MAX } from "#/tools/nbd-front.ts";
import * as nbd from "#/tools/nbd-messages.ts";
import { convert, createOverlay, info, map } from "#/tools/qemu-img.ts";
import { openReader, openWriter } from "#/tools/qemu-nbd.ts";
import { makeCertificates } from "#/tools/test-certificates.ts";
import { readTlsFolder } from "#/tools/tls-folder.ts";

const folder = await mkdtemp(join(tmpdir(), "mica-front-"));
after(() => rm(folder, { recursive: true }));
await makeCertificates(folder);
const tls = await readTlsFolder(folder, "server");

const file = (name: string) => join(folder, name);
const rawNode = (name: string): BlockNode => ({ driver: "raw", file: { driver: "file", filename: file(name) } });

interface World extends AsyncDisposable {
  readonly front: NbdFront;
  /** What names were looked for. */
  readonly asked: string[];
  node(name: string, tlsDir?: string): BlockNode;
}

/** A front of the files in the folder, as `disks/NAME/read` and `disks/NAME/write`. */
async function open(port = 0, limits: { handshakeMsMax?: number } = {}): Promise<World> {
  const asked: string[] = [];
  const find = async (name: string) => {
    asked.push(name);
    const [, disk, mode] = /^disks\/([\w.-]+)\/(read|write)$/.exec(name) ?? [];
    if (!disk || !(await stat(file(disk)).catch(() => undefined))) return undefined;
    return { node: rawNode(disk), mode: mode as "read" | "write" };
  };
  const front = await NbdFront.listen({ host: "127.0.0.1", port, tls, find, log: silentLog, ...limits });
  const node = (name: string, tlsDir = folder) => remoteNode({ host: "127.0.0.1", port: front.port, export: name, tlsDir });
  return { front, asked, node, [Symbol.asyncDispose]: () => front[Symbol.asyncDispose]() };
}

/** Every byte differs from its neighbours. */
const counted = (sizeBytes: number) => Buffer.alloc(sizeBytes).map((_, i) => (i * 7 + (i >> 8)) & 255);

const pidsOfDiskServers = async (): Promise<number[]> => {
  const pids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name)).map(Number);
  const lines = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/cmdline`, "latin1").catch(() => "")));
  return pids.filter((_, i) => lines[i]?.startsWith("qemu-nbd") && lines[i].includes("--shared") && lines[i].includes(folder));
};

describe("a disk over NBD with TLS", () => {
  it("is read and written by QEMU's programs, in their sandbox, as if it were here", async () => {
    await using world = await open();
    await writeFile(file("source"), counted(3 * MiB));
    await writeFile(file("target"), Buffer.alloc(3 * MiB));
    assert.equal((await info(world.node("disks/source/read"))).virtualSizeBytes, 3 * MiB);
    await convert(world.node("disks/source/read"), world.node("disks/target/write"));
    assert.ok((await readFile(file("target"))).equals(counted(3 * MiB)));
    await using writer = await openWriter(world.node("disks/target/write"));
    await writer.write(Buffer.alloc(KiB, 1), 5 * KiB);
    await writer.writeZeroes(MiB, MiB);
    await writer.flush();
    const expected = counted(3 * MiB).fill(1, 5 * KiB, 6 * KiB).fill(0, MiB, 2 * MiB);
    assert.ok((await readFile(file("target"))).equals(expected));
    await using reader = await openReader(world.node("disks/target/read"));
    const seen = Buffer.alloc(2 * MiB);
    await reader.read(seen, 0);
    assert.ok(seen.equals(expected.subarray(0, 2 * MiB)));
  });

  it("tells where its holes are", async () => {
    await using world = await open();
    await using handle = await openFile(file("sparse"), "w");
    await handle.truncate(64 * MiB);
    await handle.write(counted(64 * KiB), 0, 64 * KiB, 32 * MiB);
    const data: number[] = [];
    await map(world.node("disks/sparse/read"), (extent) => void (extent.data && data.push(extent.startBytes, extent.lengthBytes)));
    assert.deepEqual(data, [32 * MiB, 64 * KiB]);
  });

  it("is refused to those who have no certificate, one of another authority, or the server's own", async () => {
    await using world = await open();
    await writeFile(file("secret"), counted(KiB));
    const stranger = await mkdtemp(join(folder, "stranger-"));
    await makeCertificates(stranger);
    await assert.rejects(info(world.node("disks/secret/read", stranger)), AppError);
    const half = await mkdtemp(join(folder, "half-"));
    await writeFile(join(half, "ca-cert.pem"), await readFile(file("ca-cert.pem")));
    await assert.rejects(info(world.node("disks/secret/read", half)), AppError);
    for (const end of ["cert", "key"]) await writeFile(join(half, `client-${end}.pem`), await readFile(file(`server-${end}.pem`)));
    await assert.rejects(info(world.node("disks/secret/read", half)), AppError);
    const plain: BlockNode = { driver: "raw", file: { driver: "nbd", server: { type: "inet", host: "127.0.0.1", port: String(world.front.port) }, export: "disks/secret/read" } };
    await assert.rejects(info(plain), /TLS/i);
    assert.deepEqual(world.asked, []);
  });

  it("does not show itself to a server that has another name than was asked for", async () => {
    await using world = await open();
    await writeFile(file("secret"), counted(KiB));
    const wrong = await mkdtemp(join(folder, "wrong-"));
    await makeCertificates(wrong, { serverNames: "DNS:another.host" });
    const front = await NbdFront.listen({ host: "127.0.0.1", port: 0, tls: await readTlsFolder(wrong, "server"), find: async () => ({ node: rawNode("secret"), mode: "read" }), log: silentLog });
    await using _front = front;
    await assert.rejects(info(remoteNode({ host: "127.0.0.1", port: front.port, export: "a/b", tlsDir: wrong })), /certificate/i);
    assert.deepEqual(world.asked, []);
  });

  it("is told apart from what is not there, and from what cannot be opened, in words", async () => {
    await using world = await open();
    await assert.rejects(info(world.node("disks/absent/read")), /there is no such disk/);
    await assert.rejects(info(world.node("../etc/passwd")), /there is no such disk/);
    await writeFile(file("short"), "no disk");
    const find = async () => ({ node: { driver: "qcow2", file: { driver: "file", filename: file("short") }, backing: null } as const, mode: "read" as const });
    await using front = await NbdFront.listen({ host: "127.0.0.1", port: 0, tls, find, log: silentLog });
    await assert.rejects(info(remoteNode({ host: "127.0.0.1", port: front.port, export: "a/b", tlsDir: folder })), /not in qcow2 format/);
  });

  it("cannot be written to by whoever asked for reading", async () => {
    await using world = await open();
    await writeFile(file("frozen"), counted(MiB));
    await assert.rejects(openWriter(world.node("disks/frozen/read")), /Permission denied/);
  });

  it("has one server however many are connected with it, and none once they have left", async () => {
    await using world = await open();
    await writeFile(file("shared"), counted(MiB));
    const readers = await Promise.all([1, 2, 3].map(() => openReader(world.node("disks/shared/read"))));
    assert.equal((await pidsOfDiskServers()).length, 1);
    await readers[0]?.[Symbol.asyncDispose]();
    await readers[1]?.read(Buffer.alloc(KiB), 0);
    for (const reader of readers.slice(1)) await reader[Symbol.asyncDispose]();
    await world.front.released("disks/shared");
    assert.deepEqual(await pidsOfDiskServers(), []);
  });

  it("is let go of before the next one opens it: writers in turn do not lock each other out", async () => {
    await using world = await open();
    await writeFile(file("turns"), Buffer.alloc(MiB));
    for (let turn = 1; turn <= 8; turn += 1) {
      await using writer = await openWriter(world.node("disks/turns/write"));
      await writer.write(Buffer.alloc(KiB, turn), turn * KiB);
      await writer.flush();
    }
    assert.deepEqual([...(await readFile(file("turns"))).subarray(0, 9 * KiB)].filter((_, i) => i % KiB === 0), [0, 1, 2, 3, 4, 5, 6, 7, 8]);
  });

  it("keeps what it has answered when the server of an overlay is killed, though nobody flushed", async () => {
    await writeFile(file("base"), Buffer.alloc(4 * MiB));
    await createOverlay({ filename: file("overlay"), virtualSizeBytes: 4 * MiB, backingFilename: "base", backingFormat: "raw" });
    const node = overlayNode(file("overlay"), rawNode("base"));
    await using front = await NbdFront.listen({ host: "127.0.0.1", port: 0, tls, find: async () => ({ node, mode: "write" }), log: silentLog });
    const writer = await openWriter(remoteNode({ host: "127.0.0.1", port: front.port, export: "a/overlay/write", tlsDir: folder }));
    await writer.write(Buffer.alloc(64 * KiB, 1), MiB);
    for (const pid of await pidsOfDiskServers()) process.kill(pid, "SIGKILL");
    await writer.write(Buffer.alloc(64 * KiB, 2), 2 * MiB);
    await writer.flush();
    await writer[Symbol.asyncDispose]();
    await front.released("a/overlay");
    const seen = Buffer.alloc(4 * MiB);
    await using reader = await openReader(node);
    await reader.read(seen, 0);
    assert.deepEqual([seen[MiB], seen[2 * MiB], seen[3 * MiB]], [1, 2, 0]);
  });

  it("is connected again when its server was killed and is back, and no write is lost", async () => {
    await writeFile(file("lasting"), Buffer.alloc(4 * MiB));
    const first = await open();
    const { port } = first.front;
    const writer = await openWriter(first.node("disks/lasting/write"));
    await writer.write(Buffer.alloc(64 * KiB, 1), 0);
    await first[Symbol.asyncDispose]();
    const late = Promise.all([2, 3, 4].map((at) => writer.write(Buffer.alloc(64 * KiB, at), at * 64 * KiB)));
    await using _second = await open(port);
    await late;
    await writer.flush();
    await writer[Symbol.asyncDispose]();
    const seen = await readFile(file("lasting"));
    assert.deepEqual([0, 1, 2, 3, 4].map((at) => seen[at * 64 * KiB]), [1, 0, 2, 3, 4]);
  });
});

/** What a client hears until the server ends the connection; the bytes are sent at once. */
function hear(socket: Socket, bytes: Buffer): Promise<Buffer> {
  const heard: Buffer[] = [];
  return new Promise((resolve) => {
    socket.on("error", () => {}).on("data", (chunk: Buffer) => heard.push(chunk));
    socket.once("close", () => resolve(Buffer.concat(heard)));
    socket.write(bytes);
    socket.end();
  });
}

const plain = async ({ front }: World, bytes: Buffer) => hear(connect(front.port, "127.0.0.1"), bytes);

/** A connection that has shown its certificate. */
async function inside({ front }: World): Promise<TLSSocket> {
  const socket = connect(front.port, "127.0.0.1");
  socket.write(Buffer.concat([nbd.clientFlags(), nbd.option(nbd.NBD_OPT_STARTTLS)]));
  using reader = new HandshakeReader(socket);
  await reader.take(nbd.GREETING_BYTES + nbd.OPTION_REPLY_HEAD_BYTES);
  const client = await readTlsFolder(folder, "client");
  return connectTls({ socket, ...client, servername: "localhost" });
}

const typeOf = (reply: Buffer) => reply.readUInt32BE(12);

describe("a client that does not keep to the protocol", () => {
  it("hears that TLS is required, whatever it asks for before", async () => {
    await using world = await open();
    const asks = [nbd.NBD_OPT_GO, nbd.NBD_OPT_INFO, nbd.NBD_OPT_STRUCTURED_REPLY, 3, 77].map((number) => nbd.option(number, nbd.nameWithoutWishes("disks/secret/read")));
    const heard = await plain(world, Buffer.concat([nbd.clientFlags(), ...asks]));
    const replies = heard.subarray(nbd.GREETING_BYTES);
    assert.equal(replies.length, asks.length * nbd.OPTION_REPLY_HEAD_BYTES);
    for (let at = 0; at < replies.length; at += nbd.OPTION_REPLY_HEAD_BYTES) assert.equal(typeOf(replies.subarray(at)), nbd.NBD_REP_ERR_TLS_REQD);
    assert.deepEqual(world.asked, []);
  });

  it("cannot slip options in before TLS that count afterwards", async () => {
    await using world = await open();
    const slipped = nbd.option(nbd.NBD_OPT_GO, nbd.nameWithoutWishes("disks/secret/read"));
    await plain(world, Buffer.concat([nbd.clientFlags(), nbd.option(nbd.NBD_OPT_STARTTLS), slipped]));
    assert.deepEqual(world.asked, []);
  });

  it("ends with its own connection: others go on, and nothing is left of it", async () => {
    await using world = await open();
    await writeFile(file("kept"), counted(MiB));
    await using reader = await openReader(world.node("disks/kept/read"));
    const huge = nbd.option(nbd.NBD_OPT_GO);
    huge.writeUInt32BE(0xffff_ffff, 12);
    const option = fc.tuple(fc.nat(20), fc.uint8Array({ maxLength: 64 })).map(([number, data]) => nbd.option(number, Buffer.from(data)));
    const garbage = fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes));
    const message = fc.array(fc.oneof(option, garbage, fc.constant(huge)), { maxLength: 8 }).map((parts) => Buffer.concat(parts));
    const before = performance.now();
    await fc.assert(
      fc.asyncProperty(message, async (bytes) => {
        await plain(world, Buffer.concat([nbd.clientFlags(), bytes]));
        await hear(await inside(world), bytes);
      }),
      { numRuns: 60 },
    );
    assert.ok(performance.now() - before < 30_000);
    const seen = Buffer.alloc(KiB);
    await reader.read(seen, 0);
    assert.ok(seen.equals(counted(KiB)));
    await using _another = await openReader(world.node("disks/kept/read"));
    assert.equal((await pidsOfDiskServers()).length, 1);
  });

  it("may stop in the middle of a message, at any byte, and keeps nobody else from being served", async () => {
    await using world = await open();
    await writeFile(file("served"), counted(MiB));
    const message = nbd.option(nbd.NBD_OPT_GO, nbd.nameWithoutWishes("disks/served/read"));
    const halves: Socket[] = [connect(world.front.port, "127.0.0.1")];
    halves[0]?.write(Buffer.concat([nbd.clientFlags(), message]).subarray(0, 21));
    for (const count of [1, 17, message.length - 1]) {
      const socket = await inside(world);
      halves.push(socket);
      socket.write(message.subarray(0, count));
    }
    const before = performance.now();
    assert.equal((await info(world.node("disks/served/read"))).virtualSizeBytes, MiB);
    assert.ok(performance.now() - before < 3000);
    for (const socket of halves) socket.destroy();
  });

  it("has only so much time until it has shown its certificate, and there are only so many of its kind", async () => {
    await using world = await open(0, { handshakeMsMax: 1500 });
    await writeFile(file("served"), counted(MiB));
    const before = performance.now();
    const silent = Array.from({ length: STRANGERS_MAX }, (_, i) => {
      const socket = connect(world.front.port, "127.0.0.1");
      if (i % 2 === 0) socket.write(Buffer.concat([nbd.clientFlags(), nbd.option(nbd.NBD_OPT_STARTTLS)]));
      return new Promise<void>((resolve) => socket.resume().on("error", () => {}).once("close", () => resolve()));
    });
    const oneMore = await new Promise<number>((resolve) => {
      const socket = connect(world.front.port, "127.0.0.1");
      socket.resume().on("error", () => {}).once("close", () => resolve(socket.bytesRead));
    });
    assert.ok(oneMore === 0 && performance.now() - before < 1400, "it is sent away at once");
    await Promise.all(silent);
    assert.ok(performance.now() - before < 6000);
    assert.equal((await info(world.node("disks/served/read"))).virtualSizeBytes, MiB);
  });

  it("is answered option by option once it is inside, and gets a disk only by its name", async () => {
    await using world = await open();
    const unknown = nbd.option(nbd.NBD_OPT_GO, nbd.nameWithoutWishes("disks/absent/read"));
    const socket = await inside(world);
    using reader = new HandshakeReader(socket);
    socket.write(Buffer.concat([nbd.option(3), nbd.option(nbd.NBD_OPT_STRUCTURED_REPLY), unknown]));
    for (const type of [nbd.NBD_REP_ERR_UNSUP, nbd.NBD_REP_ACK, nbd.NBD_REP_ERR_UNKNOWN]) {
      assert.equal(typeOf((await reader.take(nbd.OPTION_REPLY_HEAD_BYTES)) as Buffer), type);
    }
    assert.equal((await reader.take("there is no such disk".length))?.toString(), "there is no such disk");
    socket.destroy();
    assert.deepEqual(world.asked, ["disks/absent/read"]);
  });
});
