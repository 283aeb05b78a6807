/** The matrix of strategies on real storage: ext4, XFS, Ceph RBD, S3 and the web. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after } from "node:test";
import { GiB } from "#/lib/units.ts";
import { mountNew } from "../support/file-systems.ts";
import { matrixRun } from "../support/matrix-run.ts";
import { startWebServer } from "../support/web-server.ts";
import { sectionOf, startObjectStore } from "./support/object-store.ts";

await using starting = new AsyncDisposableStack();
const ext4 = starting.use(await mountNew("ext4", { sizeBytes: 4 * GiB }));
const xfs = starting.use(await mountNew("xfs", { sizeBytes: 4 * GiB }));
const store = starting.use(await startObjectStore());
const web = starting.use(await startWebServer());
const folder = await mkdtemp(join(tmpdir(), "mica-matrix-"));
starting.defer(() => rm(folder, { recursive: true, force: true }));
const world = starting.move();
after(() => world.disposeAsync());

const ceph = (pool: string) => ({ driver: "rbd", rbd: { confPath: store.ceph.confPath, pool } });
const POOLS = [
  { name: "ext4", path: join(ext4.path, "pool") },
  { name: "xfs", path: join(xfs.path, "pool") },
  { name: "xfs-images", path: join(xfs.path, "images"), roles: ["images"] },
  { name: "rbd", ...ceph("volumes") },
  { name: "rbd-images", ...ceph("images"), roles: ["images"] },
  { name: "s3", driver: "s3", s3: sectionOf(store), roles: ["images"] },
  { name: "web", driver: "http", http: { allowedHosts: [new URL(web.url).host] }, roles: ["images"] },
];
const objects = ["s3", "web"];

matrixRun("ext4, XFS, RBD, S3 and the web", {
  web,
  start: async () => ({ env: { ...store.env, MICA_POOLS: JSON.stringify(POOLS) }, async [Symbol.asyncDispose]() {} }),
  targets: [
    { kind: "file on ext4", pool: "ext4", from: { "the same pool": ["ext4"], "a pool elsewhere": ["xfs", "rbd"], "an object store or a web server": objects } },
    {
      kind: "file on XFS or btrfs",
      pool: "xfs",
      from: {
        "the same pool": ["xfs"],
        "another pool of the same place": ["xfs-images"],
        "a pool elsewhere": ["ext4", "rbd"],
        "an object store or a web server": objects,
      },
    },
    {
      kind: "rbd",
      pool: "rbd",
      from: {
        "the same pool": ["rbd"],
        "another pool of the same place": ["rbd-images"],
        "a pool elsewhere": ["ext4", "xfs"],
        "an object store or a web server": objects,
      },
    },
  ],
});
