/** Volume to image in every form, and back, on each file system. */
import { mkdtemp } from "node:fs/promises";
import { join } from "node:path";
import { after } from "node:test";
import { GiB } from "#/lib/units.ts";
import { FileDriver } from "#/storage/file/driver.ts";
import { mountNew } from "../support/file-systems.ts";
import { uploadTable } from "../support/upload-table.ts";

await using mounts = new AsyncDisposableStack();
/** On the others nothing reads through anything. */
const SOURCES = { ext4: ["plain disk", "overlay"], xfs: ["plain disk"], btrfs: ["plain disk"] } as const;
for (const [kind, sources] of Object.entries(SOURCES)) {
  const { path } = mounts.use(await mountNew(kind as keyof typeof SOURCES, { sizeBytes: GiB }));
  uploadTable(kind, { open: async () => FileDriver.open(await mkdtemp(join(path, "pool-"))), sources, stores: ["own", "elsewhere"] });
}
const kept = mounts.move();
after(() => kept.disposeAsync());
