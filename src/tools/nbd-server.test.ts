import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { formatNode } from "#/domain/block-node.ts";
import { AppError } from "#/domain/errors.ts";
import { KiB, MiB } from "#/lib/units.ts";
import { NbdServer } from "#/tools/nbd-server.ts";
import { info } from "#/tools/qemu-img.ts";
import { readNode } from "#/storage/read-ahead.ts";

interface World extends AsyncDisposable {
  readonly path: string;
  /** What `onError` heard. */
  readonly heard: string[];
  readonly reads: { start: number; end: number }[];
}

async function serve(exports: Readonly<Record<string, Uint8Array>>): Promise<World> {
  const folder = await mkdtemp(join(tmpdir(), "mica-nbd-server-"));
  const [heard, reads]: [string[], World["reads"]] = [[], []];
  const find = async (name: string) => {
    const bytes = exports[name];
    if (name === "broken") return { sizeBytes: MiB, read: async () => Promise.reject(new AppError("pool_unavailable", "the wire is cut")) };
    const read = async (start: number, end: number) => {
      reads.push({ start, end });
      return [(bytes as Uint8Array).subarray(start, start + 1), (bytes as Uint8Array).subarray(start + 1, end)];
    };
    return bytes && { sizeBytes: bytes.length, read };
  };
  const server = await NbdServer.listen(join(folder, "nbd"), find, (error) => heard.push(String(error)));
  const dispose = async () => {
    await server[Symbol.asyncDispose]();
    await rm(folder, { recursive: true });
  };
  return { path: server.path, heard, reads, [Symbol.asyncDispose]: dispose };
}

const nodeOf = ({ path }: World, name: string) => formatNode({ driver: "nbd", server: { type: "unix", path }, export: name }, "raw");

async function shown(world: World, name: string, end: number): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const part of readNode(nodeOf(world, name), { start: 0, end })) parts.push(part.slice());
  return Buffer.concat(parts);
}

/** Every byte differs from its neighbours. */
const counted = (sizeBytes: number) => new Uint8Array(sizeBytes).map((_, i) => (i * 7 + (i >> 8)) & 255);

describe("NbdServer", () => {
  it("shows QEMU every byte", async () => {
    for (const sizeBytes of [512, 4096, MiB + 512, 3 * MiB]) {
      const bytes = counted(sizeBytes);
      await using world = await serve({ disk: bytes });
      assert.equal(Buffer.compare(await shown(world, "disk", sizeBytes), bytes), 0, `${sizeBytes} bytes`);
      assert.deepEqual(world.heard, []);
    }
  });

  it("serves several readers of several exports at once", async () => {
    await using world = await serve({ a: counted(MiB), b: counted(MiB).reverse() });
    const [a, b, again] = await Promise.all([shown(world, "a", MiB), shown(world, "b", MiB), shown(world, "a", MiB)]);
    assert.deepEqual([a, b, again].map((bytes) => bytes?.[0]), [0, counted(MiB).at(-1), 0]);
  });

  it("tells nobody of an export whose name it does not know", async () => {
    await using world = await serve({ secret: counted(KiB) });
    await assert.rejects(info(nodeOf(world, "guess")), /not available|unknown|No such/i);
    assert.deepEqual(world.reads, []);
  });

  it("passes a failed read on as an I/O error, and says what it was", async () => {
    await using world = await serve({});
    await assert.rejects(shown(world, "broken", MiB), AppError);
    assert.match(world.heard[0] ?? "", /the wire is cut/);
  });

  it("lives on whatever a reader sends", async () => {
    await using world = await serve({ disk: counted(KiB) });
    for (const nonsense of ["", "GET / HTTP/1.1\r\n\r\n", "\0\0\0\x03IHAVEOPT\0\0\0\x07\xff\xff\xff\xff", "\0\0\0\x03IHAVEOPT\0\0\0\x07\0\0\0\x02zz"]) {
      await new Promise<void>((resolve) => {
        const socket = connect(world.path, () => socket.end(nonsense, "latin1"));
        socket.resume().on("close", () => resolve());
      });
    }
    assert.equal((await shown(world, "disk", KiB)).length, KiB);
  });
});
