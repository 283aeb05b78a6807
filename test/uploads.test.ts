/** Volume to image in every form, and back, on pools that need nothing of the machine; test/real/uploads.test.ts has real file systems. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after } from "node:test";
import { MiB } from "#/lib/units.ts";
import { FileDriver } from "#/storage/file/driver.ts";
import { MemoryDriver } from "#/storage/memory/driver.ts";
import { uploadTable } from "./support/upload-table.ts";

const folder = await mkdtemp(join(tmpdir(), "mica-upload-pools-"));
after(() => rm(folder, { recursive: true, force: true }));

uploadTable("files", { open: async () => FileDriver.open(await mkdtemp(join(folder, "pool-"))), sources: ["plain disk"], stores: ["own", "elsewhere"] });
uploadTable("memory", { open: async () => new MemoryDriver({ capacityBytes: 128 * MiB, clone: "dependent" }), sources: ["overlay"], stores: ["own"] });
