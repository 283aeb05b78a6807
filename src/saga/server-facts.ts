import { devicesOf } from "#/db/block-devices.ts";
import type { Database } from "#/db/database.ts";
import { serverMetadata } from "#/db/key-values.ts";
import type { ServerTable } from "#/db/server-tables.ts";
import type { ServerFacts, TaggedDevice } from "#/domain/config-drive.ts";

/** What the guest is told of itself, from its server's records. */
export async function serverFacts(db: Database, server: ServerTable): Promise<ServerFacts> {
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
