import { mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { after } from "node:test";
import { killFlows } from "../support/kill-flows.ts";
import { mountNew } from "../support/file-systems.ts";

await using mounts = new AsyncDisposableStack();
const xfs = mounts.use(await mountNew("xfs", { sizeBytes: 8 * 2 ** 30 }));
const kept = mounts.move();
after(() => kept.disposeAsync());

killFlows("the default pool", {
  start: async () => ({ async [Symbol.asyncDispose]() {} }),
  momentsMs: [5, 150, 400],
});

killFlows("two pools on one XFS", {
  async start() {
    const folder = await mkdtemp(join(xfs.path, "pools-"));
    const pools = [
      { name: "images", path: join(folder, "images"), roles: ["images"] },
      { name: "volumes", path: join(folder, "volumes"), roles: ["volumes", "cache"] },
    ];
    return { env: { MICA_POOLS: JSON.stringify(pools) }, [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }) };
  },
  momentsMs: [60],
});
