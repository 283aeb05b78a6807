import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { makeTemporaryFolder } from "#/lib/temporary-folder.ts";
import { SECOND_MS } from "#/lib/units.ts";
import { accessArguments, type RbdAccess } from "#/tools/rbd.ts";
import { run } from "#/tools/run.ts";

/** Ceph's `rados` (16.2): small objects of RBD's own, which `rbd` does not show. */
export interface RadosPlace {
  readonly pool: string;
  readonly namespace?: string | undefined;
}

/** All of an object. Errors: as `run()`. */
export async function readObject(access: RbdAccess, place: RadosPlace, name: string): Promise<Buffer> {
  return intoFile(access, place, (path) => ["get", name, path]);
}

/** The value of a key that an object has beside its bytes. */
export async function readOmapValue(access: RbdAccess, place: RadosPlace, name: string, key: string): Promise<Buffer> {
  return intoFile(access, place, (path) => ["getomapval", name, key, path]);
}

/** What it prints is no text. */
async function intoFile(access: RbdAccess, { pool, namespace }: RadosPlace, call: (path: string) => string[]): Promise<Buffer> {
  const folder = await makeTemporaryFolder("rados");
  try {
    const path = join(folder, "value");
    const where = ["--pool", pool, ...(namespace ? ["--namespace", namespace] : [])];
    await run("rados", [...accessArguments(access), ...where, ...call(path)], { timeoutMs: 2 * access.opTimeoutMs + 10 * SECOND_MS });
    return await readFile(path);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
