import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after } from "node:test";
import { storageDriverContract } from "#/storage/contract.ts";
import { FileDriver } from "#/storage/file/driver.ts";

const root = await mkdtemp(join(tmpdir(), "mica-file-driver-"));
after(() => rm(root, { recursive: true }));

storageDriverContract("FileDriver", async () => FileDriver.open(await mkdtemp(join(root, "pool-"))));
