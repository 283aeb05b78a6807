import type { VolumeListRequest } from "#/app/volumes.ts";
import { GiB } from "#/lib/units.ts";
import type { ListQuery } from "./list-query.ts";

/** The filters that a list of volumes has, for `GET /resource_filters`. */
export const VOLUME_FILTERS = [
  "name",
  "status",
  "metadata",
  "bootable",
  "migration_status",
  "availability_zone",
  "group_id",
  "size",
  "glance_metadata",
  "created_at",
  "updated_at",
  "consumes_quota",
] as const;

/** The query of a list of volumes, by the microversion. `bad_request` for what it does not have. */
export function volumeListRequest(query: ListQuery, minor: number, limitMax: number): VolumeListRequest {
  const page = query.takePage(limitMax);
  const request = {
    ...page,
    projectId: query.take("project_id"),
    filter: {
      equal: equalFilters(query, minor),
      contains: minor >= 34 ? containsFilters(query) : {},
      times: minor >= 60 ? [...query.takeTimes("created_at"), ...query.takeTimes("updated_at")] : [],
      metadata: query.takePairs("metadata"),
      imageMetadata: minor >= 4 ? query.takePairs("glance_metadata") : undefined,
      nothing: excludesAll(query, minor),
    },
  };
  query.refuseRest(minor);
  return request;
}

/** Parts of names: `name~=data`. */
export function containsFilters(query: ListQuery): Record<string, string> {
  const parts = { name: query.take("name~") ?? query.take("display_name~"), description: query.take("description~") };
  return Object.fromEntries(Object.entries(parts).filter((entry): entry is [string, string] => entry[1] !== undefined));
}

/** No volume is in a group, and each counts against its quota: to ask for others is to ask for none. */
function excludesAll(query: ListQuery, minor: number): boolean {
  const inGroup = minor >= 10 && query.take("group_id") !== undefined;
  const free = minor >= 65 && query.takeFlag("consumes_quota") === false;
  return inGroup || free;
}

function equalFilters(query: ListQuery, minor: number): Record<string, string | number | null> {
  const bootable = takeBootable(query, minor);
  const sizeGib = query.takeCount("size");
  const migrationStatus = query.take("migration_status");
  const values = {
    id: query.take("id"),
    name: query.take("name") ?? query.take("display_name"),
    description: query.take("description"),
    status: query.take("status"),
    user_id: query.take("user_id"),
    availability_zone: query.take("availability_zone"),
    bootable: bootable === undefined ? undefined : Number(bootable),
    size_bytes: sizeGib === undefined ? undefined : sizeGib * GiB,
    migration_status: migrationStatus === "none" ? null : migrationStatus,
  };
  return Object.fromEntries(Object.entries(values).filter((entry): entry is [string, string | number | null] => entry[1] !== undefined));
}

/** Before 3.2 any word that is not true was false. */
function takeBootable(query: ListQuery, minor: number): boolean | undefined {
  if (minor >= 2) return query.takeFlag("bootable");
  const value = query.take("bootable");
  return value === undefined ? undefined : value.toLowerCase() === "true";
}
