import { type Expression, type SqlBool, sql } from "kysely";
import type { Database } from "./database.ts";
import { type KeyValuePairs, serverMetadata } from "./key-values.ts";
import { type PageRequest, pageOf } from "./page.ts";
import type { ServerTable } from "./server-tables.ts";
import { allOf, havingPairs, type RecordFilter, recordConditions } from "./volume-lists.ts";

/** What a list of servers is narrowed to; all of it must hold. */
export interface ServerFilter extends RecordFilter {
  /** One of several values, by column. */
  readonly oneOf?: Readonly<Record<string, readonly (string | number)[]>> | undefined;
  /** Columns that must be empty, or must not. */
  readonly isNull?: Readonly<Record<string, boolean>> | undefined;
  readonly flavorId?: string | undefined;
  readonly metadata?: KeyValuePairs | undefined;
  /** All of these, any of these, not all of these, none of these. */
  readonly tags?: { readonly all?: readonly string[]; readonly any?: readonly string[]; readonly notAll?: readonly string[]; readonly none?: readonly string[] } | undefined;
}

export const SERVER_SORT_COLUMNS: Readonly<Record<string, string>> = {
  uuid: "id",
  id: "id",
  created_at: "created_at",
  updated_at: "updated_at",
  launched_at: "created_at",
  display_name: "name",
  name: "name",
  vm_state: "vm_state",
  power_state: "power_state",
  project_id: "project_id",
  user_id: "user_id",
  host: "host",
  availability_zone: "availability_zone",
};

export async function listServers(db: Database, filter: ServerFilter, page: PageRequest): Promise<ServerTable[]> {
  return pageOf(db.selectFrom("server").selectAll().where(conditions(db, filter)), page).execute();
}

function conditions(db: Database, filter: ServerFilter): Expression<SqlBool> {
  return allOf([
    ...recordConditions(filter),
    ...Object.entries(filter.oneOf ?? {}).map(([column, values]) => (values.length > 0 ? sql<SqlBool>`${sql.ref(column)} in (${sql.join(values)})` : sql<SqlBool>`false`)),
    ...Object.entries(filter.isNull ?? {}).map(([column, isNull]) => (isNull ? sql<SqlBool>`${sql.ref(column)} is null` : sql<SqlBool>`${sql.ref(column)} is not null`)),
    ...(filter.flavorId === undefined ? [] : [sql<SqlBool>`json_extract(flavor, '$.id') = ${filter.flavorId}`]),
    ...havingPairs(db, serverMetadata, filter.metadata),
    ...tagConditions(filter.tags ?? {}),
  ]);
}

function tagConditions({ all = [], any, notAll, none }: NonNullable<ServerFilter["tags"]>): Expression<SqlBool>[] {
  return [
    ...all.map(hasTag),
    ...(any ? [sql<SqlBool>`(${sql.join(any.map(hasTag), sql` or `)})`] : []),
    ...(notAll ? [sql<SqlBool>`not (${sql.join(notAll.map(hasTag), sql` and `)})`] : []),
    ...(none ? [sql<SqlBool>`not (${sql.join(none.map(hasTag), sql` or `)})`] : []),
  ];
}

function hasTag(tag: string): Expression<SqlBool> {
  return sql<SqlBool>`id in (select server_id from server_tag where tag = ${tag})`;
}
