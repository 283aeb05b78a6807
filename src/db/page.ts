import { type Expression, type SelectQueryBuilder, type SqlBool, sql } from "kysely";

/** One page of a list: `limit` records, in the order of `sort`, after the record `marker` and `offset` more. */
export interface PageRequest {
  /** The last key is unique, so that every record has one place. */
  readonly sort: readonly SortKey[];
  readonly limit: number;
  readonly offset?: number;
  /** The record that the page before ended with. */
  readonly marker?: object | undefined;
}

export interface SortKey {
  readonly column: string;
  readonly descending: boolean;
}

/**
 * Cuts a page out of a list by its place in the order, not by counting: where an index has the filter's columns and then the
 * sort's, all in one direction, a page costs the same however long the list is.
 */
export function pageOf<DB, TB extends keyof DB, O>(query: SelectQueryBuilder<DB, TB, O>, { sort, limit, offset = 0, marker }: PageRequest) {
  let page = query.limit(limit);
  if (offset > 0) page = page.offset(offset);
  for (const { column, descending } of sort) page = page.orderBy(place(column), descending ? "desc" : "asc");
  return marker ? page.where(behind(sort, marker as Record<string, unknown>)) : page;
}

/** Columns that may be null sort as empty text: comparisons with null are neither true nor false. Indexes say the same. */
const NULLABLE: ReadonlySet<string> = new Set(["name"]);

function place(column: string): Expression<unknown> {
  return NULLABLE.has(column) ? sql`coalesce(${sql.ref(column)}, '')` : sql`${sql.ref(column)}`;
}

function behind(sort: readonly SortKey[], marker: Record<string, unknown>): Expression<SqlBool> {
  const values = sort.map(({ column }) => sql`${marker[column] ?? ""}`);
  const oneWay = sort.every(({ descending }) => descending === sort[0]?.descending);
  if (!oneWay) return behindByKeys(sort, values);
  const places = sql.join(sort.map(({ column }) => place(column)));
  return sql<SqlBool>`(${places}) ${sql.raw(comparison(sort[0]))} (${sql.join(values)})`;
}

/** Row values compare in one direction only; here each key has its own: a > x or (a = x and (b < y or …)). */
function behindByKeys(sort: readonly SortKey[], values: readonly Expression<unknown>[]): Expression<SqlBool> {
  const [key, ...laterKeys] = sort;
  const [value, ...laterValues] = values;
  if (!key) return sql<SqlBool>`false`;
  const further = sql<SqlBool>`${place(key.column)} ${sql.raw(comparison(key))} ${value}`;
  return sql<SqlBool>`(${further} or (${place(key.column)} = ${value} and ${behindByKeys(laterKeys, laterValues)}))`;
}

const comparison = (key: SortKey | undefined): string => (key?.descending ? "<" : ">");
