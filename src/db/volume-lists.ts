import { type Expression, type SqlBool, sql } from "kysely";
import type { Database } from "./database.ts";
import { type KeyValuePairs, type KeyValues, volumeImageMetadata, volumeMetadata } from "./key-values.ts";
import { type PageRequest, pageOf } from "./page.ts";
import type { VolumeTable } from "./tables.ts";

/** What a list of volumes is narrowed to; all of it must hold. */
export interface VolumeFilter extends RecordFilter {
  /** Pairs that the volume's metadata has. */
  readonly metadata?: KeyValuePairs | undefined;
  /** Pairs that its image metadata has. */
  readonly imageMetadata?: KeyValuePairs | undefined;
}

/** The part of a filter that volumes and snapshots share. */
export interface RecordFilter {
  /** Undefined: of all projects. */
  readonly projectId?: string | undefined;
  /** Exact values, by column. */
  readonly equal: Readonly<Record<string, string | number | null>>;
  /** Parts of values, by column; upper and lower case are the same. */
  readonly contains: Readonly<Record<string, string>>;
  readonly times: readonly TimeFilter[];
  /** Something that no record has is asked for. */
  readonly nothing?: boolean;
}

export interface TimeFilter {
  readonly column: "created_at" | "updated_at";
  readonly operator: "<" | "<=" | "=" | "!=" | ">=" | ">";
  readonly ms: number;
}

export const VOLUME_SORT_COLUMNS: Readonly<Record<string, string>> = {
  id: "id",
  created_at: "created_at",
  updated_at: "updated_at",
  name: "name",
  display_name: "name",
  size: "size_bytes",
  status: "status",
  availability_zone: "availability_zone",
  bootable: "bootable",
};

export async function listVolumes(db: Database, filter: VolumeFilter, page: PageRequest): Promise<VolumeTable[]> {
  const query = db.selectFrom("volume").selectAll().where(conditions(db, filter));
  return pageOf(query, page).execute();
}

/** How many volumes the filter leaves. It looks at each of them: only on request. */
export async function countVolumes(db: Database, filter: VolumeFilter): Promise<number> {
  const { count } = await db
    .selectFrom("volume")
    .select((eb) => eb.fn.countAll<number>().as("count"))
    .where(conditions(db, filter))
    .executeTakeFirstOrThrow();
  return Number(count);
}

export interface VolumeSummary {
  readonly count: number;
  readonly sizeBytes: number;
}

/** Of one project, or of all. */
export async function summarizeVolumes(db: Database, projectId: string | undefined): Promise<VolumeSummary> {
  let query = db
    .selectFrom("volume")
    .select((eb) => [eb.fn.countAll<number>().as("count"), eb.fn.sum<number | null>("size_bytes").as("size")]);
  if (projectId !== undefined) query = query.where("project_id", "=", projectId);
  const { count, size } = await query.executeTakeFirstOrThrow();
  return { count: Number(count), sizeBytes: Number(size ?? 0) };
}

/** Every value that each metadata name has, over the volumes of one project or of all. */
export async function distinctVolumeMetadata(db: Database, projectId: string | undefined): Promise<{ name: string; value: string }[]> {
  let query = db.selectFrom("volume_metadata").select(["name", "value"]).distinct();
  if (projectId !== undefined) {
    const owned = db.selectFrom("volume").select("id").where("project_id", "=", projectId);
    query = query.where("volume_id", "in", owned);
  }
  return query.orderBy("name").orderBy("value").execute();
}

/** The conditions that volumes and snapshots share. Never empty. */
export function recordConditions({ projectId, equal, contains, times, nothing }: RecordFilter): Expression<SqlBool>[] {
  return [
    projectId === undefined ? sql<SqlBool>`true` : sql<SqlBool>`project_id = ${projectId}`,
    ...(nothing ? [sql<SqlBool>`false`] : []),
    ...Object.entries(equal).map(([column, value]) => equals(column, value)),
    ...Object.entries(contains).map(([column, part]) => sql<SqlBool>`${sql.ref(column)} like ${`%${escapeLike(part)}%`} escape '\\'`),
    ...times.map(({ column, operator, ms }) => sql<SqlBool>`${sql.ref(column)} ${sql.raw(operator)} ${ms}`),
  ];
}

export function allOf(conditions: readonly Expression<SqlBool>[]): Expression<SqlBool> {
  return sql<SqlBool>`${sql.join(conditions, sql` and `)}`;
}

/** The ids of records that have all the pairs. */
export function havingPairs(db: Database, table: KeyValues, pairs: KeyValuePairs = {}): Expression<SqlBool>[] {
  return Object.entries(pairs).map(([name, value]) => sql<SqlBool>`id in ${table.ownersOf(db, name, value)}`);
}

function conditions(db: Database, filter: VolumeFilter): Expression<SqlBool> {
  return allOf([
    ...recordConditions(filter),
    ...havingPairs(db, volumeMetadata, filter.metadata),
    ...havingPairs(db, volumeImageMetadata, filter.imageMetadata),
  ]);
}

/** Names may be null, and their index says so: `coalesce(name, '')`. */
function equals(column: string, value: string | number | null): Expression<SqlBool> {
  if (value === null) return sql<SqlBool>`${sql.ref(column)} is null`;
  return column === "name" ? sql<SqlBool>`coalesce(name, '') = ${value}` : sql<SqlBool>`${sql.ref(column)} = ${value}`;
}

const escapeLike = (text: string): string => text.replaceAll(/[\\%_]/g, (character) => `\\${character}`);
