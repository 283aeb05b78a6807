/** Volume to image in every form, and back, on each file system. */
import { mkdtemp } from "node:fs/promises";
import { join } from "node:path";
import { after } from "node:test";
import { GiB } from "#/lib/units.ts";
import { FileDriver } from "#/storage/file/driver.ts";
import { mountNew } from "../support/file-systems.ts";
import { uploadTable } from "../support/upload-table.ts";

await using mounts = new AsyncDisposableStack();
for (const kind of ["ext4", "xfs", "btrfs"] as const) {
  const { path } = mounts.use(await mountNew(kind, { sizeBytes: GiB }));
  uploadTable(kind, { open: async () => FileDriver.open(await mkdtemp(join(path, "pool-"))), sources: ["plain disk", "overlay"], stores: ["own", "elsewhere"] });
}
const kept = mounts.move();
after(() => kept.disposeAsync());
