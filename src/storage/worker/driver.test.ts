import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after } from "node:test";
import { storageDriverContract } from "#/storage/contract.ts";
import { WorkerDriver } from "#/storage/worker/driver.ts";
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
const openFar = () => WorkerDriver.open({ url: worker.url, pool: unused.next().value ?? "none", tlsDir: worker.tlsDir });

storageDriverContract("WorkerDriver", openFar);
