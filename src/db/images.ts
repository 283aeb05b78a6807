import type { ImageDataFacts, ImageFields } from "#/domain/image.ts";
import type { ContainerFormat, Image, ImageDiskFormat, ImageStatus, Visibility } from "#/domain/image.ts";
import { diskId, imageId } from "#/domain/ids.ts";
import type { Database } from "./database.ts";
import { KeyValues } from "./key-values.ts";
import type { ImageTable } from "./tables.ts";

const imageProperties = new KeyValues("image_property", "image_id");

export async function findImage(db: Database, id: string): Promise<ImageTable | undefined> {
  return db.selectFrom("image").selectAll().where("id", "=", id).executeTakeFirst();
}

/** The record with its properties and tags. */
export async function loadImage(db: Database, id: string): Promise<Image | undefined> {
  const row = await findImage(db, id);
  return row && (await withDetails(db, [row]))[0];
}

export async function insertImage(trx: Database, image: Image): Promise<void> {
  await trx
    .insertInto("image")
    .values({
      id: image.id,
      ...fieldColumns(image),
      ...dataColumns(image),
      status: image.status,
      disk_id: image.diskId,
      created_at: image.createdAtMs,
      updated_at: image.updatedAtMs,
    })
    .execute();
  await imageProperties.merge(trx, image.id, image.properties);
  await insertTags(trx, image.id, image.tags);
}

/** Writes what a user may change: fields, properties and tags. */
export async function saveImageFields(trx: Database, image: Image): Promise<void> {
  await updateImage(trx, image.id, { ...fieldColumns(image), updated_at: image.updatedAtMs });
  await imageProperties.replace(trx, image.id, image.properties);
  await trx.deleteFrom("image_tag").where("image_id", "=", image.id).execute();
  await insertTags(trx, image.id, image.tags);
}

/** A project's backups of a server of that type, the newest first. */
export async function backupsOf(db: Database, { serverId, type, owner }: { readonly serverId: string; readonly type: string; readonly owner: string | null }): Promise<ImageTable[]> {
  const having = (name: string, value: string) => db.selectFrom("image_property").select("image_id").where("name", "=", name).where("value", "=", value);
  return db
    .selectFrom("image")
    .selectAll()
    .where("id", "in", having("instance_uuid", serverId))
    .where("id", "in", having("backup_type", type))
    .where("id", "in", having("image_type", "backup"))
    .where("owner", "is", owner)
    .where("status", "=", "active")
    .orderBy("created_at", "desc")
    .orderBy("id")
    .execute();
}

/** Adds the properties to those that the image has. */
export async function setImageProperties(trx: Database, id: string, properties: Image["properties"]): Promise<void> {
  await imageProperties.merge(trx, id, properties);
}

export async function updateImage(db: Database, id: string, changes: Partial<ImageTable>): Promise<void> {
  await db.updateTable("image").set(changes).where("id", "=", id).execute();
}

/** Removes the record with its properties, tags and members. */
export async function removeImage(db: Database, id: string): Promise<ImageTable | undefined> {
  return db.deleteFrom("image").where("id", "=", id).returningAll().executeTakeFirst();
}

/** The rows as images, in their order; properties and tags come in one query each. */
export async function withDetails(db: Database, rows: readonly ImageTable[]): Promise<Image[]> {
  const ids = rows.map(({ id }) => id);
  const properties = await imageProperties.ofAll(db, ids);
  const tags = await tagsOf(db, ids);
  return rows.map((row) => toImage(row, properties.get(row.id) ?? {}, tags.get(row.id) ?? []));
}

/** What an image with these facts has in its row. */
export function dataColumns(facts: ImageDataFacts) {
  return {
    size_bytes: facts.sizeBytes,
    virtual_size_bytes: facts.virtualSizeBytes,
    checksum_md5: facts.checksumMd5,
    hash_algorithm: facts.hashAlgorithm,
    hash_value: facts.hashValue,
  };
}

export interface ProjectImageUsage {
  readonly count: number;
  readonly sizeBytes: number;
  /** Uploads under way. */
  readonly savingCount: number;
}

export async function projectImageUsage(db: Database, projectId: string): Promise<ProjectImageUsage> {
  const row = await db
    .selectFrom("image")
    .select((eb) => [
      eb.fn.countAll<number>().as("count"),
      eb.fn.coalesce(eb.fn.sum<number>("size_bytes"), eb.lit(0)).as("sizeBytes"),
      eb.fn.countAll<number>().filterWhere("status", "=", "saving").as("savingCount"),
    ])
    .where("owner", "=", projectId)
    .executeTakeFirstOrThrow();
  return row;
}

function fieldColumns(fields: ImageFields) {
  return {
    name: fields.name,
    owner: fields.owner,
    visibility: fields.visibility,
    disk_format: fields.diskFormat,
    container_format: fields.containerFormat,
    min_disk_gib: fields.minDiskGib,
    min_ram_mib: fields.minRamMib,
    protected: fields.isProtected ? 1 : 0,
    hidden: fields.isHidden ? 1 : 0,
  };
}

async function insertTags(trx: Database, id: string, tags: readonly string[]): Promise<void> {
  if (tags.length === 0) return;
  await trx
    .insertInto("image_tag")
    .values(tags.map((tag) => ({ image_id: id, tag })))
    .execute();
}

async function tagsOf(db: Database, ids: readonly string[]): Promise<Map<string, string[]>> {
  const found = new Map<string, string[]>();
  if (ids.length === 0) return found;
  const rows = await db.selectFrom("image_tag").selectAll().where("image_id", "in", ids).orderBy("tag").execute();
  for (const row of rows) found.getOrInsertComputed(row.image_id, () => []).push(row.tag);
  return found;
}

function toImage(row: ImageTable, properties: Image["properties"], tags: readonly string[]): Image {
  return {
    id: imageId(row.id),
    name: row.name,
    owner: row.owner,
    status: row.status as ImageStatus,
    visibility: row.visibility as Visibility,
    diskFormat: row.disk_format as ImageDiskFormat | null,
    containerFormat: row.container_format as ContainerFormat | null,
    minDiskGib: row.min_disk_gib,
    minRamMib: row.min_ram_mib,
    isProtected: row.protected === 1,
    isHidden: row.hidden === 1,
    tags,
    properties,
    sizeBytes: row.size_bytes,
    virtualSizeBytes: row.virtual_size_bytes,
    checksumMd5: row.checksum_md5,
    hashAlgorithm: row.hash_algorithm,
    hashValue: row.hash_value,
    diskId: row.disk_id === null ? null : diskId(row.disk_id),
    createdAtMs: row.created_at,
    updatedAtMs: row.updated_at,
  };
}
