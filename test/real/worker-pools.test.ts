/** Pools of another host that share blocks there: what the file system of that host can do reaches Mica through its worker. Needs root, since it mounts one. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { MiB } from "#/lib/units.ts";
import * as bench from "#/storage/contract/bench.ts";
import { neighboursContract } from "#/storage/contract/neighbours.ts";
import { storageDriverContract } from "#/storage/contract.ts";
import { WorkerDriver } from "#/storage/worker/driver.ts";
import { mountNew } from "../support/file-systems.ts";
import { WorkerProcess } from "../support/worker-process.ts";

const POOLS = 60;

await using undo = new AsyncDisposableStack();
const xfs = undo.use(await mountNew("xfs"));
const names = Array.from({ length: POOLS }, (_, i) => `p${i}`);
const worker = undo.use(await WorkerProcess.start({ pools: names.map((name) => ({ name, path: join(xfs.path, name) })) }));
const resources = undo.move();
after(() => resources.disposeAsync());

const unused = names.values();
const openFar = () => WorkerDriver.open({ url: worker.url, pool: unused.next().value ?? "none", tlsDir: worker.tlsDir });

storageDriverContract("WorkerDriver on XFS", openFar, ["sharing"]);

neighboursContract("WorkerDriver on XFS", async () => {
  const [from, to] = [await openFar(), await openFar()];
  const close = async () => void (await Promise.all([from, to].map((driver) => driver[Symbol.asyncDispose]())));
  return { from, to, [Symbol.asyncDispose]: close };
});

describe("a pool of another host", () => {
  it("does what its file system can do", async () => {
    await using far = await openFar();
    assert.deepEqual([far.can.clone, far.can.dedup, far.can.changes], ["independent", true, "extents"]);
  });

  it("is not made anew where its file system is not mounted, though its worker has no records", async () => {
    await using other = await WorkerProcess.start({ pools: [{ name: "only", path: join(xfs.path, "only") }] });
    await using far = await WorkerDriver.open({ url: other.url, pool: "only", tlsDir: other.tlsDir });
    const disk = await bench.putNew(far, bench.dense(MiB, 1));
    await other.stop();
    await xfs.unmount();
    await other.start();
    await bench.rejectsWith("pool_unavailable", () => far.stat(disk.id));
    await other.stop();
    await xfs.mount();
    await other.start();
    await bench.assertContent(far, disk, bench.dense(MiB, 1));
  });
});
