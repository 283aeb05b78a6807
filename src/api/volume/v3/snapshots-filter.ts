import type { SnapshotListRequest } from "#/app/snapshots.ts";
import type { ListQuery } from "./list-query.ts";
import { containsFilters } from "./volumes-filter.ts";

/** The filters that a list of snapshots has, for `GET /resource_filters`. */
export const SNAPSHOT_FILTERS = ["name", "status", "volume_id", "metadata", "consumes_quota"] as const;

export function snapshotListRequest(query: ListQuery, minor: number, limitMax: number): SnapshotListRequest {
  const request = {
    ...query.takePage(limitMax),
    projectId: query.take("project_id"),
    filter: {
      equal: equalFilters(query),
      contains: minor >= 34 ? containsFilters(query) : {},
      times: [],
      metadata: minor >= 22 ? query.takePairs("metadata") : undefined,
      nothing: minor >= 65 && query.takeFlag("consumes_quota") === false,
    },
  };
  query.refuseRest(minor);
  return request;
}

function equalFilters(query: ListQuery): Record<string, string> {
  const values = {
    id: query.take("id"),
    name: query.take("name") ?? query.take("display_name"),
    description: query.take("description"),
    status: query.take("status"),
    volume_id: query.take("volume_id"),
    user_id: query.take("user_id"),
  };
  return Object.fromEntries(Object.entries(values).filter((entry): entry is [string, string] => entry[1] !== undefined));
}
