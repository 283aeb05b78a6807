import type { FastifyRequest } from "fastify";
import type { ListQuery } from "./schema.ts";
import { linkTo, listOf } from "./view.ts";

/** Keystone has no limit of its own, and its clients do not page: so it is high. Five thousand records take about ten milliseconds. */
export const LIST_MAX = 5000;

/** A flag of a query: `?enabled`, `=True`, `=1` are true; `=False`, `=0` false. */
export function flag(text: string | undefined): boolean {
  return text !== undefined && text.toLowerCase() !== "false" && text !== "0";
}

/** The filter of a list, in the words of the records. */
export function filterOf({ name, domain_id, parent_id, enabled, marker, limit }: ListQuery) {
  return {
    name,
    domainId: domain_id,
    parentId: parent_id,
    enabled: enabled === undefined ? undefined : flag(enabled),
    marker,
    limit: Math.min(limit ?? LIST_MAX, LIST_MAX),
  };
}

/** A page of a list with its links; the next page begins after the last record of a full one. */
export function pageOf<T extends { id: string }>(
  name: string,
  records: readonly T[],
  options: { request: FastifyRequest; baseUrl: string; limit: number; view: (record: T, baseUrl: string) => object },
): object {
  const { request, baseUrl, limit, view } = options;
  const last = records.length === limit ? records.at(-1) : undefined;
  const next = new URL(request.url, baseUrl);
  if (last) next.searchParams.set("marker", last.id);
  return listOf(
    name,
    records.map((record) => view(record, baseUrl)),
    { ...linkTo(baseUrl, name), next: last ? next.href : null },
  );
}
