import { type Expression, type ExpressionBuilder, type SqlBool, sql } from "kysely";
import type { Image } from "#/domain/image.ts";
import {
  type ImageFilter,
  type ImageListing,
  type ImageSort,
  type TimeCondition,
  totalOrder,
  type View,
  viewsOf,
} from "#/domain/image-listing.ts";
import type { Database } from "./database.ts";
import { withDetails } from "./images.ts";
import { pageOf, type SortKey } from "./page.ts";
import type { ImageTable, Tables } from "./tables.ts";

/**
 * One page of the images that the viewer sees. Each view is a walk along an index of its own that ends after `limit` records; the
 * union of these few is sorted again. So a page costs the same however many images there are. Only what others share
 * with the viewer is sorted whole: as many as the viewer's project was given.
 */
export async function listImages(db: Database, listing: ImageListing, marker: ImageTable | undefined): Promise<Image[]> {
  const query = imagePageQuery(db, listing, marker);
  return query ? withDetails(db, await query.execute()) : [];
}

/** Undefined where there is nothing that the viewer could see. */
export function imagePageQuery(db: Database, listing: ImageListing, marker: ImageTable | undefined) {
  const page = { sort: totalOrder(listing.sort).map(toSortKey), limit: listing.limit, marker };
  const walks = viewsOf(listing).map((view) => {
    const walk = pageOf(viewQuery(db, view, listing), page).where(conditions(listing.filter));
    return db.selectFrom(walk.as("walk")).select("walk.id");
  });
  const [first, ...others] = walks;
  if (!first) return undefined;
  const ids = others.reduce((union, walk) => union.union(walk), first);
  return pageOf(db.selectFrom("image").selectAll().where("id", "in", ids), { ...page, marker: undefined });
}

function viewQuery(db: Database, { visibility, owner, sharedWith }: View, { memberStatus, filter }: ImageListing) {
  let query = (sharedWith === undefined ? images(db) : sharedImages(db, sharedWith, memberStatus))
    .where("visibility", "=", visibility)
    .where("hidden", "=", filter.isHidden ? 1 : 0);
  if (owner !== undefined) query = query.where("owner", "=", owner);
  return query;
}

function images(db: Database) {
  return db.selectFrom("image").select("image.id");
}

/** The limit, which limits nothing, keeps SQLite from looking for each share in all images of the view. */
function sharedImages(db: Database, projectId: string, status: ImageListing["memberStatus"]): ReturnType<typeof images> {
  let shares = db.selectFrom("image_member").select("image_id").where("member_id", "=", projectId);
  if (status !== "all") shares = shares.where("status", "=", status);
  const shared = db.selectFrom("image").selectAll().where("id", "in", shares).limit(Number.MAX_SAFE_INTEGER);
  return db.selectFrom(shared.as("image")).select("image.id");
}

type Conditions = ExpressionBuilder<Tables, "image">;

/** All that must hold of an image beside the view's own terms. */
function conditions(filter: ImageFilter) {
  return (eb: Conditions): Expression<SqlBool> =>
    eb.and([
      ...Object.entries(filter.oneOf).map(([attribute, values]) => eb(sql.ref(columnOf(attribute)), "in", [...values])),
      ...Object.entries(filter.equal).map(([attribute, value]) => eb(sql.ref(columnOf(attribute)), "=", value)),
      ...(filter.isProtected === undefined ? [] : [eb("protected", "=", filter.isProtected ? 1 : 0)]),
      ...(filter.sizeBytesMin === undefined ? [] : [eb("size_bytes", ">=", filter.sizeBytesMin)]),
      ...(filter.sizeBytesMax === undefined ? [] : [eb("size_bytes", "<=", filter.sizeBytesMax)]),
      ...filter.times.map((condition) => timeCondition(eb, condition)),
      ...filter.tags.map((tag) => sql<SqlBool>`exists (select 1 from image_tag t where t.image_id = image.id and t.tag = ${tag})`),
      ...Object.entries(filter.properties).map(([name, value]) => hasProperty(name, value)),
    ]);
}

/** Asked for each image on the walk, which ends once the page is full. */
function hasProperty(name: string, value: string): Expression<SqlBool> {
  return sql`exists (select 1 from image_property p where p.image_id = image.id and p.name = ${name} and p.value = ${value})`;
}

function timeCondition(eb: Conditions, { attribute, fromMs, beforeMs, inverted }: TimeCondition): Expression<SqlBool> {
  const inside = eb.and([eb(attribute, ">=", fromMs), eb(attribute, "<", beforeMs)]);
  return inverted ? eb.not(inside) : inside;
}

/** The columns that hold the API's attributes, where they have other names; those that may be null, as they are sorted. */
const COLUMNS: ReadonlyMap<string, string> = new Map([
  ["name", "sort_name"],
  ["size", "sort_size_bytes"],
  ["disk_format", "sort_disk_format"],
  ["container_format", "sort_container_format"],
  ["virtual_size", "virtual_size_bytes"],
  ["checksum", "checksum_md5"],
  ["os_hash_algo", "hash_algorithm"],
  ["os_hash_value", "hash_value"],
  ["min_disk", "min_disk_gib"],
  ["min_ram", "min_ram_mib"],
]);

function columnOf(attribute: string): string {
  return COLUMNS.get(attribute) ?? attribute;
}

function toSortKey({ key, direction }: ImageSort): SortKey {
  return { column: columnOf(key), descending: direction === "desc" };
}
