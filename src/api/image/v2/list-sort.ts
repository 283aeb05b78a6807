import { AppError } from "#/domain/errors.ts";
import { IMAGE_SORT_KEYS, type ImageSort, type ImageSortKey } from "#/domain/image-listing.ts";

const DEFAULT_KEY: ImageSortKey = "created_at";
const DEFAULT_DIRECTION = "desc";

/**
 * `sort=name:asc,size` or, older, `sort_key=name&sort_dir=asc&sort_key=size&sort_dir=desc`: one direction for all keys, or one
 * for each. glance/api/v2/images.py `_get_sorting_params`.
 */
export function parseSort(query: URLSearchParams): ImageSort[] {
  const sort = query.get("sort");
  const keys = query.getAll("sort_key").map(toKey);
  const directions = query.getAll("sort_dir").map(toDirection);
  if (sort === null) return pair(keys.length > 0 ? keys : [DEFAULT_KEY], directions);
  if (keys.length > 0 || directions.length > 0) throw new AppError("bad_request", "Old and new sorting syntax cannot be combined");
  return sort.trim().split(",").map(parseTerm);
}

function pair(keys: readonly ImageSortKey[], directions: readonly ImageSort["direction"][]): ImageSort[] {
  if (directions.length > 1 && directions.length !== keys.length) {
    throw new AppError("bad_request", "Number of sort dirs does not match the number of sort keys");
  }
  return keys.map((key, index) => ({ key, direction: directions[index] ?? directions[0] ?? DEFAULT_DIRECTION }));
}

function parseTerm(term: string): ImageSort {
  const [key = "", direction] = term.split(":", 2);
  return { key: toKey(key), direction: direction ? toDirection(direction) : DEFAULT_DIRECTION };
}

function toKey(text: string): ImageSortKey {
  const key = IMAGE_SORT_KEYS.find((known) => known === text.trim());
  if (key) return key;
  throw new AppError("bad_request", `Invalid sort key: ${text}. It must be one of the following: ${IMAGE_SORT_KEYS.join(", ")}.`);
}

function toDirection(text: string): ImageSort["direction"] {
  const direction = text.trim();
  if (direction === "asc" || direction === "desc") return direction;
  throw new AppError("bad_request", `Invalid sort direction: ${text}`);
}
