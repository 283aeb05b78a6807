/** Killed in the middle of every flow, with the images in an S3 service. */
import { randomUUID } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after } from "node:test";
import { MiB, MINUTE_MS } from "#/lib/units.ts";
import { killFlows } from "../support/kill-flows.ts";
import { sectionOf, startObjectStore } from "./support/object-store.ts";

const store = await startObjectStore();
after(() => store[Symbol.asyncDispose]());

killFlows("images in an S3 service, volumes in a folder", {
  async start() {
    const folder = await mkdtemp(join(tmpdir(), "mica-object-kill-"));
    const pools = [
      { name: "objects", driver: "s3", roles: ["images"], s3: sectionOf(store, { prefix: `${randomUUID()}/` }) },
      { name: "local", path: join(folder, "volumes"), roles: ["volumes", "cache"] },
    ];
    return { startLimitMs: 2 * MINUTE_MS, env: { ...store.env, MICA_POOLS: JSON.stringify(pools) }, [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }) };
  },
  momentsMs: [200],
  dataBytes: 64 * MiB,
});
