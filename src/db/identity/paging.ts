import { type Expression, type ExpressionBuilder, type SqlBool, sql } from "kysely";
import type { Tables } from "#/db/tables.ts";

/** What a list of Identity may be narrowed by. */
export interface Page {
  /** The id of the last record of the page before. */
  readonly marker?: string | undefined;
  readonly limit: number;
}

/** Records after the marker in the order of names, and of ids where names are equal (in different domains). */
export function after<T extends "user" | "project" | "domain" | "role">(
  table: T,
  marker: string | undefined,
): (eb: ExpressionBuilder<Tables, T>) => Expression<SqlBool> {
  if (marker === undefined) return () => sql<SqlBool>`true`;
  return () => sql<SqlBool>`(name, id) > (select name, id from ${sql.table(table)} where id = ${marker})`;
}
