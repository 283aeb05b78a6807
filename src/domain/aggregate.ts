import { AppError } from "./errors.ts";

/** Hosts that belong together, as an operator sees it; with the metadata `availability_zone` they are a zone. */
export interface Aggregate {
  readonly id: number;
  readonly uuid: string;
  readonly name: string;
  readonly hosts: readonly string[];
  readonly metadata: Readonly<Record<string, string>>;
  readonly createdAtMs: number;
  readonly updatedAtMs: number;
}

export const ZONE_KEY = "availability_zone";

export function zoneOfAggregate({ metadata }: Aggregate): string | null {
  return metadata[ZONE_KEY] ?? null;
}

/** The zone that the host is in: that of its aggregates, else the installation's. */
export function zoneOfHost(host: string, aggregates: readonly Aggregate[], defaultZone: string): string {
  return zonesOf(host, aggregates)[0] ?? defaultZone;
}

/** 409 where the host would be in two zones. `reason` is Nova's (compute/api.py `is_safe_to_update_az`). */
export function refuseSecondZone(host: string, zone: string, aggregates: readonly Aggregate[], what: string): void {
  const others = zonesOf(host, aggregates).filter((other) => other !== zone);
  if (others.length > 0) throw new AppError("conflict", `Cannot ${what}. Reason: One or more hosts already in availability zone(s) ${JSON.stringify(others)}.`);
}

/** 404 in Nova's words (exception.AggregateNotFound). */
export const aggregateNotFound = (id: number | string): AppError => new AppError("not_found", `Aggregate ${id} could not be found.`);

function zonesOf(host: string, aggregates: readonly Aggregate[]): string[] {
  return aggregates.filter(({ hosts }) => hosts.includes(host)).flatMap((aggregate) => zoneOfAggregate(aggregate) ?? []);
}
