import type { ListRequest } from "#/app/lists.ts";
import type { KeyValuePairs } from "#/db/key-values.ts";
import type { TimeFilter } from "#/db/volume-lists.ts";
import { AppError } from "#/domain/errors.ts";
import { invalidInput } from "#/domain/volume.ts";
import { pairsOf } from "./pairs.ts";

/** The query of a list, taken apart. What is taken is crossed off, so that unknown filters are found. */
export class ListQuery {
  readonly #values: Map<string, string>;

  /** `query`: as fastify parses it. Of a name that is there twice, the last counts. */
  constructor(query: unknown) {
    const entries = Object.entries(query as Record<string, string | string[]>);
    this.#values = new Map(entries.map(([name, value]) => [name, [value].flat().at(-1) ?? ""]));
  }

  /** The value, or undefined where the query does not have it. */
  take(name: string): string | undefined {
    const value = this.#values.get(name);
    this.#values.delete(name);
    return value;
  }

  /** True for what Python's clients send for it; `bad_request` where it is no word for yes or no. */
  takeFlag(name: string): boolean | undefined {
    const value = this.take(name);
    if (value === undefined) return undefined;
    if (/^(1|t|true|on|y|yes)$/i.test(value)) return true;
    if (/^(0|f|false|off|n|no)$/i.test(value)) return false;
    throw invalidInput(`${name}=${value} is neither true nor false.`);
  }

  takePairs(name: string): KeyValuePairs | undefined {
    const value = this.take(name);
    return value === undefined ? undefined : pairsOf(name, value);
  }

  /** `created_at=gt:2026-01-01T00:00:00,lt:…`; without an operator it is equality. */
  takeTimes(column: TimeFilter["column"]): TimeFilter[] {
    const value = this.take(column);
    return value === undefined ? [] : value.split(",").map((term) => timeFilter(column, term));
  }

  /** limit, offset, marker, order and all_tenants. `limitMax` is also what a list without a limit has. */
  takePage(limitMax: number): ListRequest {
    return {
      limit: Math.min(this.takeCount("limit") ?? limitMax, limitMax),
      offset: this.takeCount("offset") ?? 0,
      marker: this.take("marker"),
      sort: this.#takeSort(),
      allProjects: this.takeFlag("all_tenants") ?? false,
    };
  }

  /** Unknown filters are refused from 3.31 on, and had no effect before. */
  refuseRest(minor: number): void {
    if (minor < 31 || this.#values.size === 0) return;
    throw new AppError("bad_request", `Invalid filters ${[...this.#values.keys()].join(",")} are found in query options.`);
  }

  /** A whole number, 0 or more. */
  takeCount(name: string): number | undefined {
    const value = this.take(name);
    if (value === undefined) return undefined;
    if (!/^-?\d{1,10}$/.test(value)) throw new AppError("bad_request", `${name} param must be an integer`);
    if (value.startsWith("-") || Number(value) > 2 ** 31 - 1) throw new AppError("bad_request", `${name} param must be positive`);
    return Number(value);
  }

  /** `sort=name:asc,size`, or in the old way `sort_key=name&sort_dir=asc`. Downwards where it is not said. */
  #takeSort(): ListRequest["sort"] {
    const [sort, key, direction] = [this.take("sort"), this.take("sort_key"), this.take("sort_dir")];
    if (sort !== undefined && (key !== undefined || direction !== undefined)) {
      throw invalidInput("The 'sort_key' and 'sort_dir' parameters are deprecated and cannot be used with the 'sort' parameter.");
    }
    if (sort !== undefined) return sort.split(",").map((term) => sortTerm(...splitTerm(term)));
    return key === undefined && direction === undefined ? [] : [sortTerm(key ?? "created_at", direction ?? "desc")];
  }
}

function splitTerm(term: string): [string, string] {
  const [key = "", direction = ""] = term.split(":").map((part) => part.trim());
  return [key, direction || "desc"];
}

function sortTerm(key: string, direction: string): ListRequest["sort"][number] {
  if (direction !== "asc" && direction !== "desc") throw invalidInput(`Unknown sort direction "${direction}", must be asc or desc.`);
  return { key, descending: direction === "desc" };
}

const TIME_OPERATORS = { gt: ">", gte: ">=", eq: "=", neq: "!=", lt: "<", lte: "<=" } as const;

function timeFilter(column: TimeFilter["column"], term: string): TimeFilter {
  const match = /^(?:(gt|gte|eq|neq|lt|lte):)?(\d{4}-\d\d-\d\d.*)$/.exec(term.trim());
  const operator = (match?.[1] ?? "eq") as keyof typeof TIME_OPERATORS;
  const ms = Date.parse(withZone(match?.[2] ?? ""));
  if (!match || Number.isNaN(ms)) throw invalidInput(`Invalid filter ${column}: "${term}" is not of the form gt:2026-01-31T12:00:00.`);
  return { column, operator: TIME_OPERATORS[operator], ms };
}

/** Times without a zone are UTC, as this API's own. */
function withZone(time: string): string {
  const hasZone = /(Z|[+-]\d\d:?\d\d)$/i.test(time.replace(/^\d{4}-\d\d-\d\d/, ""));
  return hasZone || !/[T ]/.test(time) ? time : `${time}Z`;
}
