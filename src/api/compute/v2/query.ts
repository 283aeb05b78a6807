import type { ListRequest } from "#/app/lists.ts";
import { AppError } from "#/domain/errors.ts";

/** The query of a request, taken apart. What is taken is crossed off, so that unknown names are found. */
export class Query {
  readonly #values: Map<string, readonly string[]>;

  /** `query`: as fastify parses it. */
  constructor(query: unknown) {
    const entries = Object.entries(query as Record<string, string | string[]>);
    this.#values = new Map(entries.map(([name, value]) => [name, [value].flat()]));
  }

  /** The value, or undefined where the query does not have it; of a name that is there twice, the last. */
  take(name: string): string | undefined {
    return this.takeAll(name).at(-1);
  }

  takeAll(name: string): readonly string[] {
    const values = this.#values.get(name) ?? [];
    this.#values.delete(name);
    return values;
  }

  /** True for what Python's clients send for it (oslo.utils' strutils); 400 where it is no word for yes or no. */
  takeFlag(name: string): boolean | undefined {
    const value = this.take(name);
    return value === undefined ? undefined : wordForYes(name, value);
  }

  /** A whole number, 0 or more. */
  takeCount(name: string): number | undefined {
    const value = this.take(name);
    if (value === undefined) return undefined;
    if (!/^\d{1,300}$/.test(value)) throw new AppError("bad_request", `Invalid input for query parameters ${name}. Value: ${value}. '${value}' is not a whole number.`);
    return Math.min(Number(value), Number.MAX_SAFE_INTEGER);
  }

  /** limit and marker; `limitMax` is also what a list without a limit has. */
  takePage(limitMax: number): Pick<ListRequest, "limit" | "marker"> {
    return { limit: Math.min(this.takeCount("limit") ?? limitMax, limitMax), marker: this.take("marker") };
  }

  /** `sort_key` and `sort_dir`, each as often as one likes; the n-th direction is for the n-th key. */
  takeSort({ key: defaultKey, dir: defaultDir }: { key: string; dir: "asc" | "desc" }): ListRequest["sort"] {
    const [keys, directions] = [this.takeAll("sort_key"), this.takeAll("sort_dir")];
    const wanted = keys.length > 0 ? keys : [defaultKey];
    if (directions.length > wanted.length) throw new AppError("bad_request", "Sort direction size exceeds sort key size");
    return wanted.map((key, index) => ({ key, descending: isDescending(directions[index] ?? directions[0] ?? defaultDir) }));
  }

  /** What nobody took, by name. */
  rest(): readonly string[] {
    return [...this.#values.keys()];
  }

  /** Unknown names are refused from the microversion on that says so, and had no effect before. */
  refuseRest(minor: number, since: number): void {
    const rest = this.rest();
    if (minor < since || rest.length === 0) return;
    const names = rest.map((name) => `'${name}'`).join(", ");
    throw new AppError("bad_request", `Additional properties are not allowed (${names} ${rest.length === 1 ? "was" : "were"} unexpected)`);
  }
}

/** Queries that Nova made strict all at once. */
export const STRICT_QUERIES_SINCE = 75;

function wordForYes(name: string, value: string): boolean {
  if (/^(1|t|true|on|y|yes)$/i.test(value)) return true;
  if (/^(0|f|false|off|n|no)$/i.test(value)) return false;
  throw new AppError("bad_request", `Unrecognized value '${value}' for ${name}, acceptable values are: true, false`);
}

function isDescending(direction: string): boolean {
  if (direction !== "asc" && direction !== "desc") throw new AppError("bad_request", "Unknown sort direction, must be 'desc' or 'asc'");
  return direction === "desc";
}
