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
  for (const key of sort) page = page.orderBy(place(key), key.descending ? "desc" : "asc");
  return marker ? page.where(behind(sort, marker as Record<string, unknown>)) : page;
}

/** Columns that may be null sort as empty text: comparisons with null are neither true nor false. Indexes say the same. */
const NULLABLE: ReadonlySet<string> = new Set(["name"]);

function place({ column }: SortKey): Expression<unknown> {
  return NULLABLE.has(column) ? sql`coalesce(${sql.ref(column)}, '')` : sql`${sql.ref(column)}`;
}

function behind(sort: readonly SortKey[], marker: Record<string, unknown>): Expression<SqlBool> {
  const values = sort.map(({ column }) => sql`${marker[column] ?? ""}`);
  const oneWay = sort.every(({ descending }) => descending === sort[0]?.descending);
  const condition = oneWay ? behindAtOnce(sort, values) : behindByKeys(sort, values);
  const isPlain = oneWay && !NULLABLE.has(sort[0]?.column ?? "");
  return isPlain ? condition : notBefore(sort[0], values[0], condition);
}

/** One comparison of rows: SQLite starts an index on plain columns exactly there. */
function behindAtOnce(sort: readonly SortKey[], values: readonly Expression<unknown>[]): Expression<SqlBool> {
  return sql<SqlBool>`(${sql.join(sort.map(place))}) ${sql.raw(comparison(sort[0]))} (${sql.join(values)})`;
}

/** Row values compare in one direction only; here each key has its own: a > x or (a = x and (b < y or …)). */
function behindByKeys(sort: readonly SortKey[], values: readonly Expression<unknown>[]): Expression<SqlBool> {
  const [key, ...laterKeys] = sort;
  const [value, ...laterValues] = values;
  if (!key) return sql<SqlBool>`false`;
  const further = sql<SqlBool>`${place(key)} ${sql.raw(comparison(key))} ${value}`;
  return sql<SqlBool>`(${further} or (${place(key)} = ${value} and ${behindByKeys(laterKeys, laterValues)}))`;
}

/** What the first key says alone: it is all that SQLite can start at where the index is on an expression, or directions are mixed. */
function notBefore(
  first: SortKey | undefined,
  value: Expression<unknown> | undefined,
  condition: Expression<SqlBool>,
): Expression<SqlBool> {
  if (!first) return condition;
  return sql<SqlBool>`(${place(first)} ${sql.raw(comparison(first))}= ${value} and ${condition})`;
}

const comparison = (key: SortKey | undefined): string => (key?.descending ? "<" : ">");
