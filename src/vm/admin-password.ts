import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { serverFolder } from "#/vm/server-folder.ts";

/**
 * The password of a guest's administrator: in no record, but in files of the host, as the config drive that tells it to the guest. It goes with the folder: a server that comes back from its
 * shelved image is told none, as in Nova. `rescue` is for as long as the server is rescued.
 */
type Kind = "admin" | "rescue";

/** Replaces what was kept. */
export async function keepPassword(dir: string, serverId: string, kind: Kind, password: string): Promise<void> {
  await mkdir(serverFolder(dir, serverId).path, { recursive: true, mode: 0o711 });
  await writeFile(pathOf(dir, serverId, kind), password, { mode: 0o600 });
}

export async function forgetPassword(dir: string, serverId: string, kind: Kind): Promise<void> {
  await rm(pathOf(dir, serverId, kind), { force: true });
}

/** Undefined where none is kept. */
export async function passwordOf(dir: string, serverId: string): Promise<string | undefined> {
  return (await readIfThere(pathOf(dir, serverId, "rescue"))) ?? (await readIfThere(pathOf(dir, serverId, "admin")));
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

function pathOf(dir: string, serverId: string, kind: Kind): string {
  return join(serverFolder(dir, serverId).path, `${kind}-password`);
}
