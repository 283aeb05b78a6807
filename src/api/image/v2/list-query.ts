import { AppError } from "#/domain/errors.ts";
import { MEMBER_STATUSES, VISIBILITIES } from "#/domain/image.ts";
import {
  COMPARABLE_ATTRIBUTES,
  type ComparableAttribute,
  type ImageFilter,
  type ImageListing,
  LISTABLE_ATTRIBUTES,
  type ListableAttribute,
} from "#/domain/image-listing.ts";
import { parseSort } from "./list-sort.ts";
import { parseTimeCondition } from "./time-condition.ts";

export interface PageLimits {
  readonly defaultLimit: number;
  readonly maxLimit: number;
}

type ListRequest = Omit<ImageListing, "viewer">;

/** Parameters that are no filter. */
const CONTROLS: ReadonlySet<string> = new Set(["limit", "marker", "sort", "sort_key", "sort_dir", "visibility", "member_status"]);

/** The query of `GET /v2/images`; every parameter that has no meaning of its own is the name of a property. */
export function parseListQuery(query: URLSearchParams, limits: PageLimits): ListRequest {
  if (query.get("changes-since")) throw new AppError("bad_request", 'The "changes-since" filter is no longer available on v2.');
  return {
    visibility: oneOf(query.get("visibility") || undefined, [...VISIBILITIES, "all"] as const, "Invalid visibility value"),
    memberStatus: oneOf(query.get("member_status") ?? "accepted", [...MEMBER_STATUSES, "all"] as const, "Invalid status") ?? "accepted",
    sort: parseSort(query),
    limit: parseLimit(query.get("limit"), limits),
    markerId: query.get("marker") ?? undefined,
    filter: parseFilter(query),
  };
}

function parseLimit(text: string | null, { defaultLimit, maxLimit }: PageLimits): number {
  if (text === null) return Math.min(defaultLimit, maxLimit);
  const limit = parseInteger(text, "limit param must be an integer");
  if (limit < 0) throw new AppError("bad_request", "limit param must be positive");
  return Math.min(limit, maxLimit);
}

/** While it is put together. */
interface Draft extends ImageFilter {
  isProtected?: boolean;
  owner?: string;
  sizeBytesMin?: number;
  sizeBytesMax?: number;
  readonly oneOf: Partial<Record<ListableAttribute, readonly string[]>>;
  readonly equal: Partial<Record<ComparableAttribute, string | number>>;
  readonly times: ImageFilter["times"][number][];
  readonly tags: string[];
  readonly properties: Record<string, string>;
}

function parseFilter(query: URLSearchParams): ImageFilter {
  const isHidden = parseFlag("os_hidden", query.get("os_hidden")?.toLowerCase() ?? "false");
  const filter: Draft = { isHidden, oneOf: {}, equal: {}, times: [], tags: [], properties: {} };
  for (const [name, value] of query) if (!CONTROLS.has(name) && name !== "os_hidden") addCondition(filter, name, value);
  return filter;
}

function addCondition(filter: Draft, name: string, value: string): void {
  if (isOneOf(name, LISTABLE_ATTRIBUTES)) filter.oneOf[name] = parseValues(value);
  else if (isOneOf(name, COMPARABLE_ATTRIBUTES))
    filter.equal[name] = NUMBERS.has(name) ? parseInteger(value, `Invalid value '${value}' for '${name}' filter.`) : value;
  else if (name === "created_at" || name === "updated_at") filter.times.push(parseTimeCondition(name, value));
  else if (name === "tag") filter.tags.push(value.trim());
  else if (name === "owner") filter.owner = value;
  else if (name === "protected") filter.isProtected = parseFlag(name, value);
  else if (name === "size_min") filter.sizeBytesMin = parseSize(name, value);
  else if (name === "size_max") filter.sizeBytesMax = parseSize(name, value);
  else filter.properties[name] = value;
}

const NUMBERS: ReadonlySet<string> = new Set<ComparableAttribute>(["size", "virtual_size", "min_disk", "min_ram"]);

/** `in:a,b` is either of them, with quotes around names that have commas; anything else is one value as it stands. */
export function parseValues(text: string): string[] {
  if (!text.startsWith("in:")) return [text];
  const list = text.slice("in:".length);
  const values: string[] = [];
  const item = /\s*(?:"((?:[^"\\]|\\.)*)"|([^",]*))\s*(,|$)/y;
  for (let at = 0; at <= list.length; at = item.lastIndex) {
    item.lastIndex = at;
    const match = item.exec(list);
    if (!match)
      throw new AppError(
        "bad_request",
        `Invalid filter value ${text}: quote a value that has commas or quotes, and separate values by commas.`,
      );
    values.push(match[1]?.replaceAll(/\\(.)/g, "$1") ?? match[2]?.trim() ?? "");
    if (match[3] === "") break;
  }
  return values;
}

function parseFlag(name: string, value: string): boolean {
  if (value !== "true" && value !== "false") {
    throw new AppError("bad_request", `Invalid value '${value}' for '${name}' filter. Valid values are 'true' or 'false'.`);
  }
  return value === "true";
}

function parseSize(name: string, value: string): number {
  const size = parseInteger(value, `Unable to filter on a range with a non-numeric value: ${name}=${value}`);
  if (size < 0) throw new AppError("bad_request", `Cannot be a negative value: ${name}=${value}`);
  return size;
}

function parseInteger(text: string, refusal: string): number {
  const value = /^[-+]?\d{1,15}$/.test(text.trim()) ? Number(text) : Number.NaN;
  if (Number.isNaN(value)) throw new AppError("bad_request", refusal);
  return value;
}

function oneOf<T extends string>(value: string | undefined, allowed: readonly T[], refusal: string): T | undefined {
  if (value === undefined || isOneOf(value, allowed)) return value;
  throw new AppError("bad_request", `${refusal}: ${value}`);
}

function isOneOf<T extends string>(value: string, allowed: readonly T[]): value is T {
  return (allowed as readonly string[]).includes(value);
}
