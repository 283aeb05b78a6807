import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { devicesOf } from "#/db/block-devices.ts";
import type { Database } from "#/db/database.ts";
import { serverMetadata } from "#/db/key-values.ts";
import type { ServerTable } from "#/db/server-tables.ts";
import { CONFIG_DRIVE_LABEL, configDriveFiles, type ServerFacts, type TaggedDevice } from "#/domain/config-drive.ts";
import { makeIso } from "#/tools/genisoimage.ts";

/** What a host keeps of a server beside its disks. All of it can be made again from the records, but for the console's log. */
export interface ServerFolder {
  readonly path: string;
  readonly consoleLogPath: string;
  readonly configDrivePath: string;
}

export function serverFolder(dir: string, serverId: string): ServerFolder {
  const path = join(dir, serverId);
  return { path, consoleLogPath: join(path, "console.log"), configDrivePath: join(path, "config.iso") };
}

/** Makes the folder, and the config drive in it where the server has one. Repeatable. */
export async function prepareFolder(db: Database, dir: string, server: ServerTable): Promise<ServerFolder> {
  const folder = serverFolder(dir, server.id);
  await mkdir(folder.path, { recursive: true, mode: 0o711 });
  if (server.config_drive) await makeIso(folder.configDrivePath, configDriveFiles(await factsOf(db, server)), { label: CONFIG_DRIVE_LABEL });
  return folder;
}

export async function removeFolder(dir: string, serverId: string): Promise<void> {
  await rm(serverFolder(dir, serverId).path, { recursive: true, force: true });
}

async function factsOf(db: Database, server: ServerTable): Promise<ServerFacts> {
  const personality: { path: string; contents: string }[] = server.personality ? JSON.parse(server.personality) : [];
  return {
    id: server.id,
    name: server.name,
    hostname: server.hostname,
    projectId: server.project_id,
    availabilityZone: server.availability_zone,
    launchIndex: server.launch_index,
    metadata: await serverMetadata.of(db, server.id),
    key: server.key_name && server.key_data ? { name: server.key_name, data: server.key_data } : undefined,
    userData: server.user_data ? Buffer.from(server.user_data, "base64") : undefined,
    devices: await taggedDevices(db, server.id),
    personality: personality.map(({ path, contents }) => ({ path, contents: Buffer.from(contents, "base64") })),
  };
}

async function taggedDevices(db: Database, serverId: string): Promise<TaggedDevice[]> {
  const devices = await devicesOf(db, serverId);
  return devices.flatMap(({ tag, volume_id, id, target, bus }) => (tag ? { tag, serial: volume_id ?? id, path: `/dev/${target}`, bus } : []));
}
