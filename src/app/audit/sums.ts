import type { Database } from "#/db/database.ts";
import { imageVolumes } from "#/db/image-volumes.ts";
import { SERVER_GROUP_QUOTA, serverQuota, snapshotQuota, volumeQuota } from "#/domain/quota.ts";
import { type Finding, finding } from "./finding.ts";

/** Holds the running sums (quota usage, pool usage) against what they count. */
export async function auditSums(db: Database): Promise<Finding[]> {
  return db.transaction().execute(async (trx) => [...(await quotaSums(trx)), ...(await poolSums(trx))]);
}

async function quotaSums(db: Database): Promise<Finding[]> {
  const actual = new Map<string, number>();
  const add = (project: string, amounts: Record<string, number>) => {
    for (const [resource, amount] of Object.entries(amounts)) actual.set(`${project} ${resource}`, (actual.get(`${project} ${resource}`) ?? 0) + amount);
  };
  const volumes = await db.selectFrom("volume").innerJoin("volume_type", "volume_type.id", "volume_type_id").select(["project_id", "size_bytes", "volume_type.name as type", "volume.id as id"]).execute();
  for (const { project_id, size_bytes, type } of volumes) add(project_id, volumeQuota(size_bytes, type));
  for (const { project_id, size_bytes, type } of await imageVolumes(db)) add(project_id, volumeQuota(size_bytes, type));
  const types = new Map(volumes.map(({ id, type }) => [id, type]));
  const snapshots = await db.selectFrom("snapshot").select(["project_id", "size_bytes", "volume_id"]).execute();
  for (const { project_id, size_bytes, volume_id } of snapshots) add(project_id, snapshotQuota(size_bytes, types.get(volume_id) ?? ""));
  const servers = await db.selectFrom("server").select(["project_id", "flavor"]).execute();
  for (const { project_id, flavor } of servers) add(project_id, serverQuota(JSON.parse(flavor)));
  for (const { project_id } of await db.selectFrom("server_group").select("project_id").execute()) add(project_id, SERVER_GROUP_QUOTA);
  const recorded = await db.selectFrom("quota_usage").selectAll().execute();
  const used = new Map(recorded.map((row) => [`${row.project_id} ${row.resource}`, row.used]));
  return differences(actual, used).map(({ key, actual, used }) => {
    const [project, resource] = key.split(" ");
    return finding("wrong_sum", `quota ${key}`, `Project ${project} is charged ${used} for ${resource}, and its records add up to ${actual}.`);
  });
}

async function poolSums(db: Database): Promise<Finding[]> {
  const rows = await db
    .selectFrom("disk")
    .select((eb) => ["pool", eb.fn.sum<number>("virtual_size_bytes").as("provisioned"), eb.fn.sum<number>("reserved_bytes").as("reserved")])
    .groupBy("pool")
    .execute();
  const actual = new Map(rows.flatMap(({ pool, provisioned, reserved }) => [[`${pool} provisioned`, Number(provisioned)] as const, [`${pool} reserved`, Number(reserved)] as const]));
  const usage = await db.selectFrom("pool_usage").selectAll().execute();
  const recorded = new Map(usage.flatMap((row) => [[`${row.pool} provisioned`, row.provisioned_bytes] as const, [`${row.pool} reserved`, row.reserved_bytes] as const]));
  return differences(actual, recorded).map(({ key, actual, used }) =>
    finding("wrong_sum", `pool ${key}`, `Pool and sum "${key}": ${used} bytes are on record, and its disks add up to ${actual}.`),
  );
}

function differences(actual: ReadonlyMap<string, number>, recorded: ReadonlyMap<string, number>) {
  const keys = new Set([...actual.keys(), ...recorded.keys()]);
  return [...keys]
    .map((key) => ({ key, actual: actual.get(key) ?? 0, used: recorded.get(key) ?? 0 }))
    .filter(({ actual, used }) => actual !== used);
}
