import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import type { ServerResponse } from "node:http";
import { createServer, get, type RequestOptions } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import type { BlockNode } from "#/domain/block-node.ts";
import type { AppError } from "#/domain/errors.ts";
import { KiB, MiB } from "#/lib/units.ts";
import { assertContent, dense, listed, newDisk, putNew, rejectsWith } from "#/storage/contract/bench.ts";
import { storageDriverContract } from "#/storage/contract.ts";
import { FileDriver } from "#/storage/file/driver.ts";
import { WorkerConnection } from "#/storage/worker/connection.ts";
import { WorkerDriver } from "#/storage/worker/driver.ts";
import { openWriter } from "#/tools/qemu-nbd.ts";
import { makeCertificates } from "#/tools/test-certificates.ts";
import { readTlsFolder } from "#/tools/tls-folder.ts";
import { WorkerProcess } from "../../../test/support/worker-process.ts";

/** Each test has an empty pool of its own. */
const POOLS = 100;

const root = await mkdtemp(join(tmpdir(), "mica-far-"));
const names = Array.from({ length: POOLS }, (_, i) => `p${i}`);
const worker = await WorkerProcess.start({ pools: names.map((name) => ({ name, path: join(root, name) })) });
after(async () => {
  await worker[Symbol.asyncDispose]();
  await rm(root, { recursive: true, force: true });
});

const unused = names.values();
let lastPool = "none";
const openFar = () => {
  lastPool = unused.next().value ?? "none";
  return WorkerDriver.open({ url: worker.url, pool: lastPool, tlsDir: worker.tlsDir });
};

storageDriverContract("WorkerDriver", openFar);

describe("WorkerDriver", () => {
  it("says what the pool can do there, and that its place is there", async () => {
    await using far = await openFar();
    await using near = await FileDriver.open(root);
    const host = new URL(worker.url).host;
    assert.equal(far.can.clone, near.can.clone);
    assert.ok(far.can.place.startsWith(`worker:${host}/file:`), far.can.place);
    assert.equal(far.can.growsInUse, false);
  });

  it("lets nobody in without a certificate of the same authority, and trusts no worker without one", async () => {
    await using stranger = await strangerCertificates();
    const { url } = worker;
    await rejectsWith("pool_unavailable", () => WorkerDriver.open({ url, pool: "p0", tlsDir: stranger.dir }));
    await rejectsWith("config_invalid", () => WorkerDriver.open({ url, pool: "p0", tlsDir: root }));
    const { ca } = await readTlsFolder(worker.tlsDir, "client");
    const { cert, key } = await readTlsFolder(stranger.dir, "client");
    for (const own of [{}, { cert, key }]) await assert.rejects(getWith({ ca, ...own }));
    assert.equal(await getWith(await readTlsFolder(worker.tlsDir, "client")), 200);
  });

  it("names a pool that is not there", async () => {
    await assert.rejects(WorkerDriver.open({ url: worker.url, pool: "none", tlsDir: worker.tlsDir }), /has no pool "none"/);
  });

  it("passes on the pool's reasons alone", async () => {
    await using far = await openFar();
    const missing = newDisk(MiB);
    await assert.rejects(far.resize(missing, 2 * MiB), (error: AppError) => {
      assert.equal(error.code, "disk_not_found");
      assert.doesNotMatch(error.message, /Cannot|pool "/);
      return true;
    });
  });

  it("takes no parameters that are none: ids are ids, and sizes are sizes", async () => {
    using connection = new WorkerConnection(worker.url, await readTlsFolder(worker.tlsDir, "client"));
    const ask = async (method: string, parameters: object) => (await connection.call("p0", method, parameters)).result();
    const { id } = newDisk(1);
    for (const wrong of [{}, { id: "../p1/x" }, { id: `${id}/..` }, { id: 7 }]) await rejectsWith("bad_request", () => ask("stat", wrong));
    await rejectsWith("bad_request", () => ask("create", { target: { id, format: "raw", virtualSizeBytes: -1 } }));
    await rejectsWith("bad_request", () => ask("read", { disk: { id, format: "raw", virtualSizeBytes: 1, location: "file:///etc/passwd" }, range: { start: 0, end: 1 } }));
    await rejectsWith("pool_unavailable", () => ask("clone", { source: { id, format: "raw", virtualSizeBytes: 1, pool: "none" }, target: { id, format: "raw", virtualSizeBytes: 1 } }));
    await rejectsWith("pool_unavailable", () => ask("constructor", {}));
  });

  it("asks for dedup of more disks than a message can name", async () => {
    await using far = await openFar();
    const order = Array.from({ length: 30_000 }, () => newDisk(1).id);
    if (far.can.dedup) await far.dedup({ order });
    else await rejectsWith("not_supported", () => far.dedup({ order }));
  });

  it("does not wait for a worker that stops in the middle of saying what it is, and trusts none that says something else", async (t) => {
    const begun = Promise.withResolvers<void>();
    const answers = ["nonsense", undefined].values();
    await using other = await listenTls((answer) => {
      const text = answers.next().value;
      if (text !== undefined) return void answer.end(text);
      answer.write("{");
      begun.resolve();
    });
    using connection = new WorkerConnection(other.url, await readTlsFolder(worker.tlsDir, "client"));
    await rejectsWith("pool_unavailable", () => connection.facts());
    t.mock.timers.enable({ apis: ["setTimeout"] });
    const asked = rejectsWith("pool_unavailable", () => connection.facts());
    await begun.promise;
    for (const ended = asked.then(() => true); (await Promise.race([ended, new Promise((resolve) => setImmediate(resolve, false))])) !== true; ) t.mock.timers.tick(1000);
  });

  it("leaves nothing of a disk whose sender goes away", async () => {
    const far = await openFar();
    await using other = await WorkerDriver.open({ url: worker.url, pool: lastPool, tlsDir: worker.tlsDir });
    const writer = await far.receive(newDisk(MiB));
    await writer.write(dense(64 * KiB, 1), 0);
    assert.equal((await listed(other)).length, 1);
    await far[Symbol.asyncDispose](); // Its connections are cut.
    for (const endMs = Date.now() + 10_000; (await listed(other)).length > 0; ) {
      assert.ok(Date.now() < endMs, "something is left");
      await delay(20);
    }
    await rejectsWith("pool_unavailable", () => writer.finish(MiB));
  });

  it("leaves nothing of a disk whose filler goes away", async () => {
    const far = await openFar();
    await using other = await WorkerDriver.open({ url: worker.url, pool: lastPool, tlsDir: worker.tlsDir });
    const disk = newDisk(MiB);
    await rejectsWith("pool_unavailable", () => far.fill(disk, () => far[Symbol.asyncDispose]()));
    for (const endMs = Date.now() + 10_000; (await listed(other)).length > 0; ) {
      assert.ok(Date.now() < endMs, "something is left");
      await delay(20);
    }
  });

  it("takes no disk for filled that a program of the worker still has open", async () => {
    await using far = await openFar();
    const [disk, bytes] = [newDisk(MiB), dense(MiB, 1)];
    await using stack = new AsyncDisposableStack();
    await far.fill(disk, async (node) => {
      const writer = stack.use(await openWriter(withoutReturn(node)));
      await writer.write(bytes, 0);
    });
    assert.deepEqual(await programsWith(`${disk.id}/fill/`), []);
    await assertContent(far, disk, bytes);
  });

  it("says that the pool is away when the worker is killed, and goes on when it is back", async () => {
    await using far = await openFar();
    const bytes = dense(4 * MiB, 1);
    const disk = await putNew(far, bytes);
    const writer = await far.receive(newDisk(MiB));
    const reading = far.read(disk, { start: 0, end: bytes.length })[Symbol.asyncIterator]();
    await reading.next();
    await worker.kill();
    await rejectsWith("pool_unavailable", () => far.capacity());
    await rejectsWith("pool_unavailable", () => writer.write(dense(64 * KiB, 1), 0));
    await writer.abort();
    await rejectsWith("pool_unavailable", async () => {
      while (!(await reading.next()).done);
    });
    await worker.start();
    await assertContent(far, disk, bytes);
  });
});

describe("mica worker", () => {
  it("does not start without certificates, nor for a pool of yet another worker", async () => {
    const { url, tlsDir } = worker;
    const far = { name: "far", driver: "worker", worker: { url, pool: "p0", tlsDir } };
    await assert.rejects(WorkerProcess.start({ pools: [far] }), /ended with 2:[\s\S]*Pool "far" is another worker's/);
    const missing = { MICA_WORKER_TLS_DIR: join(root, "nowhere") };
    await assert.rejects(WorkerProcess.start({ pools: [{ name: "p0", path: join(root, "own") }], env: missing }), /ended with 2:[\s\S]*Cannot read .*nowhere\/ca-cert\.pem, which TLS needs/);
  });
});

async function strangerCertificates(): Promise<AsyncDisposable & { readonly dir: string }> {
  const dir = await mkdtemp(join(root, "stranger-"));
  await makeCertificates(dir);
  return { dir, [Symbol.asyncDispose]: () => rm(dir, { recursive: true }) };
}

/** A server with the worker's own certificate. */
async function listenTls(answer: (reply: ServerResponse) => void): Promise<AsyncDisposable & { readonly url: string }> {
  const server = createServer({ ...(await readTlsFolder(worker.tlsDir, "server")) }, (_, reply) => answer(reply));
  await once(server.listen(0, "127.0.0.1"), "listening");
  const close = async () => {
    server.closeAllConnections();
    server.close();
  };
  return { url: `https://127.0.0.1:${(server.address() as AddressInfo).port}`, [Symbol.asyncDispose]: close };
}

/** Whoever is sent away stays away. */
function withoutReturn(node: BlockNode): BlockNode {
  assert.ok("file" in node && node.driver === "raw" && node.file.driver === "nbd");
  return { ...node, file: { ...node.file, "reconnect-delay": 0 } };
}

/** The processes with these words in their arguments. */
async function programsWith(words: string): Promise<string[]> {
  const pids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name));
  const lines = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/cmdline`, "latin1").catch(() => "")));
  return pids.filter((_, i) => lines[i]?.includes("--export-name=") && lines[i].includes(words));
}

/** The status of the worker's first answer to whoever shows these. */
function getWith(tls: RequestOptions): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    get(`${worker.url}/worker/v1`, { ...tls, agent: false }, (answer) => {
      answer.resume();
      resolve(answer.statusCode);
    }).on("error", reject);
  });
}
