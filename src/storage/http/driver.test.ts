import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { describe, it } from "node:test";
import type { DiskFormat } from "#/domain/disk.ts";
import { throwIfCancelled } from "#/domain/cancel.ts";
import { type DiskId, diskId } from "#/domain/ids.ts";
import { silentLog } from "#/lib/log.ts";
import { KiB, MiB } from "#/lib/units.ts";
import { assertGone, content, dense, newDisk, packed, rejectsWith } from "#/storage/contract/bench.ts";
import { storageDriverContract } from "#/storage/contract.ts";
import type { ByteRange, DiskWriter, NewDisk, StorageDriver, StoredDisk, StoredRef, WorkOptions } from "#/storage/driver.ts";
import { HttpDriver } from "#/storage/http/driver.ts";
import { type Call, DriverAround } from "#/storage/wrap/around.ts";
import { RetryingDriver } from "#/storage/wrap/retrying.ts";
import { readNode } from "#/storage/read-ahead.ts";
import { startWebServer, type WebFile, type WebServer } from "../../../test/support/web-server.ts";

/** The driver as it is, with a server that somebody else fills: what is stored in this pool is put on that server, and read by its URL. */
class FilledByOthers extends DriverAround {
  protected readonly inner: HttpDriver;
  readonly #server: WebServer;
  readonly #uploads = new Map<DiskId, Uint8Array>();

  constructor(inner: HttpDriver, server: WebServer) {
    super();
    this.inner = inner;
    this.#server = server;
  }

  protected run<Result>(_: Call, work: () => Promise<Result>): Promise<Result> {
    return work();
  }

  override async capacity() {
    return { totalBytes: MiB, freeBytes: MiB };
  }

  override async *list(): AsyncIterable<StoredDisk> {
    for (const path of this.#server.files.keys()) yield (await this.stat(diskId(path.slice(1)))) as StoredDisk;
    for (const id of this.#uploads.keys()) if (!this.#server.files.has(`/${id}`)) yield { id, sizeBytes: 0, allocatedBytes: 0, partial: true };
  }

  override stat(id: DiskId, location = this.#url(id)) {
    return super.stat(id, location);
  }

  override read(source: StoredRef, range: ByteRange, options?: WorkOptions) {
    return super.read({ ...source, location: this.#url(source.id) }, range, options);
  }

  override open(disk: StoredRef, mode: "read" | "write") {
    return super.open({ ...disk, location: this.#url(disk.id) }, mode);
  }

  override flatten(disk: StoredRef, options?: WorkOptions) {
    return super.flatten({ ...disk, location: this.#url(disk.id) }, options);
  }

  override async delete(id: DiskId) {
    this.#server.files.delete(`/${id}`);
    this.#uploads.delete(id);
  }

  override async receive({ id }: NewDisk, { signal }: WorkOptions = {}): Promise<DiskWriter> {
    throwIfCancelled(signal);
    const bytes = new Uint8Array(16 * MiB);
    this.#uploads.set(id, bytes);
    const end = () => this.#uploads.get(id) === bytes && this.#uploads.delete(id);
    return {
      concurrency: 4,
      write: async (block, offset) => {
        throwIfCancelled(signal);
        bytes.set(block, offset);
      },
      finish: async (sizeBytes) => {
        end();
        throwIfCancelled(signal);
        this.#server.files.set(`/${id}`, { bytes: bytes.slice(0, sizeBytes) });
      },
      abort: async () => void end(),
    };
  }

  override async [Symbol.asyncDispose]() {
    await super[Symbol.asyncDispose]();
    await this.#server[Symbol.asyncDispose]();
  }

  #url(id: DiskId): string {
    return `${this.#server.url}/${id}`;
  }
}

storageDriverContract("HttpDriver, filled by others,", async () => {
  const server = await startWebServer();
  return new FilledByOthers(new HttpDriver({ allowedHosts: ["127.0.0.1"], silenceMsMax: 5000 }, { log: silentLog }), server);
});

/** A driver, a server that it may read from, and disks at the server's paths. */
async function openWorld(files: Readonly<Record<string, WebFile>>) {
  await using stack = new AsyncDisposableStack();
  const server = stack.use(await startWebServer(files));
  const section = { allowedHosts: [new URL(server.url).host], silenceMsMax: 1000 };
  const driver = stack.use(new HttpDriver(section, { log: silentLog }));
  const kept = stack.move();
  const at = (path: string, format: DiskFormat = "raw"): StoredRef => ({ id: diskId(randomUUID()), format, virtualSizeBytes: 0, location: server.url + path });
  return { server, driver, at, [Symbol.asyncDispose]: () => kept.disposeAsync() };
}

async function get(driver: StorageDriver, disk: StoredRef, range: ByteRange): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const part of driver.read(disk, range)) parts.push(part.slice());
  return Buffer.concat(parts);
}

describe("HttpDriver", () => {
  it("takes nothing, and says so", async () => {
    await using world = await openWorld({});
    const { driver } = world;
    const disk = newDisk(MiB);
    const refused = [driver.receive, driver.create, driver.fill, driver.clone, driver.copy, driver.snapshot, driver.resize] as (() => Promise<unknown>)[];
    for (const work of refused) await rejectsWith("not_supported", () => work.call(driver));
    await driver.delete();
    await assertGone(driver, disk.id);
    assert.deepEqual(await driver.capacity(), { totalBytes: 0, freeBytes: 0 });
    assert.equal(driver.can.readOnly, true);
  });

  it("tells the size of what is at a URL, by HEAD or, where that is refused, by the first byte", async () => {
    const bytes = dense(5000, 1);
    await using world = await openWorld({ "/a": { bytes }, "/b": { bytes, refusesHead: true }, "/c": { bytes, ranges: "silent" }, "/0": { bytes: new Uint8Array() } });
    const { driver, at, server } = world;
    for (const path of ["/a", "/b", "/c"]) {
      const { id, location } = at(path);
      assert.deepEqual(await driver.stat(id, location), { id, sizeBytes: 5000, allocatedBytes: 5000 });
    }
    assert.deepEqual(server.requests.slice(0, 3), ["HEAD /a", "HEAD /b", "GET /b bytes=0-0"]);
    const empty = at("/0");
    assert.equal((await driver.stat(empty.id, empty.location))?.sizeBytes, 0);
    const missing = at("/nothing");
    assert.equal(await driver.stat(missing.id, missing.location), undefined);
    assert.equal(await driver.stat(missing.id), undefined);
  });

  it("reads any range, also where the server has none", async () => {
    const bytes = content(MiB + 11, 4);
    await using world = await openWorld({ "/ranges": { bytes }, "/none": { bytes, ranges: "none" } });
    const { driver, at } = world;
    const edges = [0, 1, 4095, 65_536, MiB, bytes.length - 1, bytes.length];
    for (const path of ["/ranges", "/none"]) {
      for (const start of edges) {
        for (const end of edges.filter((end) => end >= start)) {
          assert.ok(Buffer.compare(await get(driver, at(path), { start, end }), bytes.subarray(start, end)) === 0, `${path}, ${start} to ${end}`);
        }
      }
      await rejectsWith("disk_not_found", () => get(driver, at(path), { start: 0, end: bytes.length + 1 }));
    }
    await rejectsWith("disk_not_found", () => get(driver, at("/nothing"), { start: 0, end: 1 }));
  });

  it("goes on reading where the connection broke", async () => {
    const bytes = dense(MiB, 5);
    await using world = await openWorld({ "/disk": { bytes, breaksAfterBytes: 300 * KiB } });
    const { driver, at, server } = world;
    await rejectsWith("pool_unavailable", () => get(driver, at("/disk"), { start: 0, end: MiB }));
    server.requests.length = 0;
    const patient = new RetryingDriver(driver, { attemptsMax: 3, delayMs: 1 });
    assert.equal(Buffer.compare(await get(patient, at("/disk"), { start: 0, end: MiB }), bytes), 0);
    assert.ok(server.requests.length >= 4 && !server.requests.slice(1).some((request) => request.includes("bytes=0-")), server.requests.join());
  });

  it("is read in place by QEMU, in few requests, and whatever format it has", async () => {
    const bytes = content(6 * MiB, 6);
    await using world = await openWorld({ "/raw": { bytes }, "/qcow2": { bytes: await packed(bytes) } });
    const { driver, at, server } = world;
    for (const format of ["raw", "qcow2"] as const) {
      server.requests.length = 0;
      const node = await driver.open(at(`/${format}`, format), "read");
      const parts: Uint8Array[] = [];
      for await (const part of readNode(node, { start: 0, end: bytes.length })) parts.push(part.slice());
      assert.equal(Buffer.compare(Buffer.concat(parts), bytes), 0);
      assert.ok(server.requests.length <= 10, `${server.requests.length} requests`);
    }
  });

  it("shows QEMU no part of something that came in its place meanwhile", async () => {
    await using world = await openWorld({ "/disk": { bytes: dense(4 * MiB, 1) } });
    const { driver, at, server } = world;
    const node = await driver.open(at("/disk"), "read");
    await assert.rejects(async () => {
      let offset = 0;
      for await (const part of readNode(node, { start: 0, end: 4 * MiB })) {
        offset += part.length;
        if (offset === part.length) server.files.set("/disk", { bytes: dense(4 * MiB, 2) });
      }
    });
  });

  it("is not addressable where the server has no ranges, and says why", async () => {
    await using world = await openWorld({ "/none": { bytes: dense(5000, 1), ranges: "none" } });
    const { driver, at } = world;
    const disk = at("/none");
    assert.match((await driver.stat(disk.id, disk.location))?.onlyInOrder ?? "", /does not serve ranges/);
    await rejectsWith("not_supported", () => driver.open(disk, "read"));
  });

  it("refuses what it could not read right: no length, packed bytes, answers that are no success", async () => {
    const bytes = dense(5000, 1);
    await using world = await openWorld({
      "/chunked": { bytes, chunked: true, ranges: "none" },
      "/gzip": { bytes, headers: { "content-encoding": "gzip" } },
      "/forbidden": { bytes, status: 403 },
      "/broken": { bytes, status: 500 },
    });
    const { driver, at } = world;
    await rejectsWith("not_supported", () => driver.stat(at("/chunked").id, at("/chunked").location));
    await rejectsWith("not_supported", () => get(driver, at("/gzip"), { start: 0, end: 10 }));
    await rejectsWith("disk_not_found", () => get(driver, at("/forbidden"), { start: 0, end: 10 }));
    await rejectsWith("pool_unavailable", () => get(driver, at("/broken"), { start: 0, end: 10 }));
  });

  it("gives up a server that says nothing", async () => {
    await using world = await openWorld({});
    const { driver, at, server } = world;
    const { createServer } = await import("node:net");
    const silent = createServer();
    await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
    const { port } = silent.address() as { port: number };
    await using impatient = new HttpDriver({ allowedHosts: ["127.0.0.1"], silenceMsMax: 100 }, { log: silentLog });
    const disk = { ...at("/"), location: `http://127.0.0.1:${port}/disk` };
    await rejectsWith("pool_unavailable", () => impatient.stat(disk.id, disk.location));
    silent.close();
    assert.deepEqual(server.requests, []);
    assert.equal(driver.kind, "http");
  });

  it("ends soon when it is cancelled", async () => {
    await using world = await openWorld({ "/disk": { bytes: dense(4 * MiB, 1) } });
    const { driver, at } = world;
    const stop = new AbortController();
    await rejectsWith("cancelled", async () => {
      for await (const _ of driver.read(at("/disk"), { start: 0, end: 4 * MiB }, { signal: stop.signal })) stop.abort();
    });
  });
});
