import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { CONFIG_DRIVE_LABEL, configDriveFiles, type ServerFacts } from "#/domain/config-drive.ts";
import { makeIso } from "#/tools/genisoimage.ts";

/** What a host keeps of a server beside its disks. All of it can be made again from the records, but for the console's log and the administrator's password. */
export interface ServerFolder {
  readonly path: string;
  readonly consoleLogPath: string;
  readonly configDrivePath: string;
}

export function serverFolder(dir: string, serverId: string): ServerFolder {
  const path = join(dir, serverId);
  return { path, consoleLogPath: join(path, "console.log"), configDrivePath: join(path, "config.iso") };
}

/** Makes the folder, and a config drive in it where there are facts to tell. Repeatable. */
export async function prepareFolder(dir: string, serverId: string, facts: ServerFacts | undefined): Promise<ServerFolder> {
  const folder = serverFolder(dir, serverId);
  await mkdir(folder.path, { recursive: true, mode: 0o711 });
  if (facts) await makeIso(folder.configDrivePath, configDriveFiles(facts), { label: CONFIG_DRIVE_LABEL });
  return folder;
}

export async function removeFolder(dir: string, serverId: string): Promise<void> {
  await rm(serverFolder(dir, serverId).path, { recursive: true, force: true });
}
