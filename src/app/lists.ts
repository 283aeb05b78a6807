import type { PageRequest, SortKey } from "#/db/page.ts";
import { type Caller, isAdmin } from "#/domain/caller.ts";
import { AppError } from "#/domain/errors.ts";
import { invalidInput } from "#/domain/volume.ts";

/** What a caller asks of a list, beside its filters. */
export interface ListRequest {
  /** By the names that the API has for them. */
  readonly sort: readonly { readonly key: string; readonly descending: boolean }[];
  readonly limit: number;
  readonly offset: number;
  /** The id of the last record of the page before. */
  readonly marker: string | undefined;
  /** Of all projects: for admins; others don't get more by it. */
  readonly allProjects: boolean;
}

export interface Page<T> {
  readonly records: readonly T[];
  /** There are more behind it. */
  readonly more: boolean;
}

/** The columns to sort by; `created_at` and `id` come last, in the direction of the first key, so that each record has one place. */
export function sortBy(sort: ListRequest["sort"], columns: Readonly<Record<string, string>>): SortKey[] {
  const keys = sort.map(({ key, descending }) => ({ column: columnOf(key, columns), descending }));
  const descending = keys[0]?.descending ?? true;
  for (const column of ["created_at", "id"]) {
    if (!keys.some((key) => key.column === column)) keys.push({ column, descending });
  }
  return keys;
}

/** Fetches one record more than asked for, to know whether there are more. */
export async function fetchPage<T>(
  request: ListRequest,
  page: Omit<PageRequest, "limit" | "offset">,
  list: (page: PageRequest) => Promise<T[]>,
): Promise<Page<T>> {
  const { limit, offset } = request;
  if (limit === 0) return { records: [], more: false };
  const rows = await list({ ...page, offset, limit: limit + 1 });
  return { records: rows.slice(0, limit), more: rows.length > limit };
}

/** The project that a list is narrowed to; undefined for all. Admins may name one. */
export function listedProject(
  caller: Caller,
  { allProjects }: Pick<ListRequest, "allProjects">,
  named?: string,
): string | undefined {
  if (!isAdmin(caller) || !allProjects) return caller.projectId;
  return named;
}

/** A marker must be a record that the caller may see. */
export function refuseUnknownMarker(record: object | undefined, marker: string | undefined): void {
  if (marker !== undefined && !record) throw new AppError("not_found", `The marker ${marker} could not be found.`);
}

function columnOf(key: string, columns: Readonly<Record<string, string>>): string {
  const column = Object.hasOwn(columns, key) ? columns[key] : undefined;
  if (column === undefined) throw invalidInput(`Sort key "${key}" is not one of: ${Object.keys(columns).join(", ")}`);
  return column;
}
