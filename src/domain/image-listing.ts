import type { MemberStatus, Visibility } from "./image.ts";

/** A question for a page of images. */
export interface ImageListing {
  readonly viewer: { readonly projectId: string; readonly isAdmin: boolean };
  /** Undefined: what concerns the viewer, which is all but other projects' community images. */
  readonly visibility: Visibility | "all" | undefined;
  /** Of images that others share with the viewer, those that the viewer gave this status. */
  readonly memberStatus: MemberStatus | "all";
  readonly filter: ImageFilter;
  readonly sort: readonly ImageSort[];
  readonly limit: number;
  /** The last image of the page before. */
  readonly markerId: string | undefined;
}

export interface ImageFilter {
  readonly isHidden: boolean;
  readonly isProtected?: boolean;
  readonly owner?: string;
  /** The attribute has one of the values. */
  readonly oneOf: Readonly<Partial<Record<ListableAttribute, readonly string[]>>>;
  readonly equal: Readonly<Partial<Record<ComparableAttribute, string | number>>>;
  readonly sizeBytesMin?: number;
  readonly sizeBytesMax?: number;
  readonly times: readonly TimeCondition[];
  /** It has all of them. */
  readonly tags: readonly string[];
  readonly properties: Readonly<Record<string, string>>;
}

export const LISTABLE_ATTRIBUTES = ["id", "name", "status", "container_format", "disk_format"] as const;
export type ListableAttribute = (typeof LISTABLE_ATTRIBUTES)[number];

export const COMPARABLE_ATTRIBUTES = ["checksum", "os_hash_algo", "os_hash_value", "size", "virtual_size", "min_disk", "min_ram"] as const;
export type ComparableAttribute = (typeof COMPARABLE_ATTRIBUTES)[number];

/** Times at or after `fromMs` and before `beforeMs`; all others where it is `inverted`. */
export interface TimeCondition {
  readonly attribute: "created_at" | "updated_at";
  readonly fromMs: number;
  readonly beforeMs: number;
  readonly inverted: boolean;
}

export const IMAGE_SORT_KEYS = ["name", "status", "container_format", "disk_format", "size", "id", "created_at", "updated_at"] as const;
export type ImageSortKey = (typeof IMAGE_SORT_KEYS)[number];
export interface ImageSort {
  readonly key: ImageSortKey;
  readonly direction: "asc" | "desc";
}

/**
 * The given keys, made total by the time of creation and the id in the direction of the last one (as Glance does).
 * What stands behind an id decides nothing, and is left out.
 */
export function totalOrder(sort: readonly ImageSort[]): ImageSort[] {
  const direction = sort.at(-1)?.direction ?? "desc";
  const order: ImageSort[] = [];
  for (const term of [...sort, { key: "created_at", direction } as const, { key: "id", direction } as const]) {
    if (order.some(({ key }) => key === term.key || key === "id")) continue;
    order.push(term);
  }
  return order;
}

/** Images of one visibility: of everybody, of one owner, or those shared with a project. Each is one walk along an index. */
export interface View {
  readonly visibility: Visibility;
  readonly owner?: string;
  readonly sharedWith?: string;
}

/** What the viewer sees, as a union of views; glance/db/sqlalchemy/api.py `_select_images_query`. */
export function viewsOf({ viewer, visibility, filter: { owner } }: Pick<ImageListing, "viewer" | "visibility" | "filter">): View[] {
  const views = viewer.isAdmin ? viewsOfAdmin(viewer.projectId) : viewsOfProject(viewer.projectId);
  return views
    .filter((view) => (visibility === undefined ? view.isDefault : visibility === "all" || view.visibility === visibility))
    .filter((view) => owner === undefined || view.owner === undefined || view.owner === owner)
    .map(({ isDefault: _, ...view }) => (owner === undefined ? view : { ...view, owner }));
}

/** `isDefault`: asked for where no visibility is named. */
type CandidateView = View & { readonly isDefault: boolean };

function viewsOfAdmin(projectId: string): CandidateView[] {
  return [
    { visibility: "public", isDefault: true },
    { visibility: "private", isDefault: true },
    { visibility: "shared", isDefault: true },
    { visibility: "community", owner: projectId, isDefault: true },
    { visibility: "community", isDefault: false },
  ];
}

function viewsOfProject(projectId: string): CandidateView[] {
  return [
    { visibility: "public", isDefault: true },
    { visibility: "private", owner: projectId, isDefault: true },
    { visibility: "shared", owner: projectId, isDefault: true },
    { visibility: "shared", sharedWith: projectId, isDefault: true },
    { visibility: "community", owner: projectId, isDefault: true },
    { visibility: "community", isDefault: false },
  ];
}
