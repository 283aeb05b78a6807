import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { CompiledQuery } from "kysely";
import { type Image, MEMBER_STATUSES, NO_DATA, VISIBILITIES } from "#/domain/image.ts";
import { IMAGE_SORT_KEYS, type ImageListing, type ImageSort, totalOrder } from "#/domain/image-listing.ts";
import { imageId } from "#/domain/ids.ts";
import type { Database } from "./database.ts";
import { imagePageQuery, listImages } from "./image-lists.ts";
import { insertImageMember } from "./image-members.ts";
import { findImage, insertImage } from "./images.ts";
import { openMemoryDatabase } from "../../test/support/memory-database.ts";

const VIEWER = "viewer-project";

describe("listImages()", () => {
  it("pages through exactly what a model shows, in its order, whatever the filter and sort", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(someImage, { maxLength: 30 }), someListing, async (seeds, listing) => {
        await using db = await openMemoryDatabase();
        const images = seeds.map(toImage);
        for (const image of images) await insertImage(db, image);
        const shares = seeds.flatMap(({ share }, index) => (share ? [{ image: images[index] as Image, status: share }] : []));
        for (const { image, status } of shares) {
          await insertImageMember(db, { imageId: image.id, memberId: VIEWER, status, createdAtMs: 0, updatedAtMs: 0 });
        }
        const seen = await allPages(db, listing);
        assert.deepEqual(seen, model(images, new Map(shares.map(({ image, status }) => [image.id, status])), listing));
      }),
      { numRuns: 100 },
    );
  });

  for (const isAdmin of [false, true]) {
    for (const key of IMAGE_SORT_KEYS) {
      it(`walks indexes only, sorted by ${key}${isAdmin ? " for an administrator" : ""}`, async () => {
        await using db = await openMemoryDatabase();
        const image = toImage({ ...PLAIN, visibility: "public" }, 1);
        await insertImage(db, image);
        const listing = { ...LISTING, viewer: { projectId: VIEWER, isAdmin }, sort: [{ key, direction: "asc" } as const] };
        const plan = await queryPlan(db, listing, await findImage(db, image.id));
        const walks = plan.flatMap((line, at) => (/ INDEX image_(owner_)?visibility_/.test(line) ? [{ line, next: plan[at + 1] }] : []));
        assert.equal(walks.length, 4, plan.join("\n"));
        for (const { line, next } of walks) {
          assert.match(line, key === "id" ? /id>\?/ : /\(.*created_at,id\)>/); // It starts at the marker,
          assert.equal(next, "SCAN walk"); // and needs no sorting.
        }
        const shares = plan.filter((line) => line === "CO-ROUTINE image").length; // Found by their ids, then sorted.
        assert.equal(plan.filter((line) => line.startsWith("SCAN image")).length, shares, plan.join("\n"));
      });
    }
  }
});

async function queryPlan(db: Database, listing: ImageListing, marker: Awaited<ReturnType<typeof findImage>>): Promise<string[]> {
  const query = imagePageQuery(db, listing, marker);
  assert(query);
  const { sql, parameters } = query.compile();
  const { rows } = await db.executeQuery<{ detail: string }>(CompiledQuery.raw(`explain query plan ${sql}`, [...parameters]));
  return rows.map(({ detail }) => detail);
}

async function allPages(db: Database, listing: ImageListing): Promise<string[]> {
  const seen: string[] = [];
  for (let marker: string | undefined; ; ) {
    const page = await listImages(db, listing, marker === undefined ? undefined : await findImage(db, marker));
    seen.push(...page.map(({ id }) => id));
    assert(page.length <= listing.limit);
    if (page.length < listing.limit) return seen;
    marker = seen.at(-1);
  }
}

/** The rules once more, in the plainest form: every image is looked at. */
function model(images: readonly Image[], shares: ReadonlyMap<string, string>, listing: ImageListing): string[] {
  const order = totalOrder(listing.sort);
  return images
    .filter((image) => isSeen(image, shares.get(image.id), listing) && isWanted(image, listing))
    .toSorted((a, b) => compare(a, b, order))
    .map(({ id }) => id);
}

function isSeen(image: Image, share: string | undefined, { viewer, visibility, memberStatus }: ImageListing): boolean {
  if (visibility !== undefined && visibility !== "all" && image.visibility !== visibility) return false;
  if (image.owner === VIEWER) return true;
  if (image.visibility === "community") return visibility !== undefined;
  if (viewer.isAdmin || image.visibility === "public") return true;
  return image.visibility === "shared" && share !== undefined && (memberStatus === "all" || share === memberStatus);
}

function isWanted(image: Image, { filter }: ImageListing): boolean {
  return (
    image.isHidden === filter.isHidden &&
    (filter.isProtected === undefined || image.isProtected === filter.isProtected) &&
    (filter.owner === undefined || image.owner === filter.owner) &&
    (filter.oneOf.name === undefined || filter.oneOf.name.includes(image.name ?? "")) &&
    (filter.sizeBytesMin === undefined || (image.sizeBytes ?? -1) >= filter.sizeBytesMin) &&
    (filter.sizeBytesMax === undefined || (image.sizeBytes !== null && image.sizeBytes <= filter.sizeBytesMax)) &&
    filter.times.every(({ fromMs, beforeMs, inverted }) => inverted !== (image.createdAtMs >= fromMs && image.createdAtMs < beforeMs)) &&
    filter.tags.every((tag) => image.tags.includes(tag)) &&
    Object.entries(filter.properties).every(([name, value]) => image.properties[name] === value)
  );
}

function compare(a: Image, b: Image, order: readonly ImageSort[]): number {
  for (const { key, direction } of order) {
    const [left, right] = [sortValue(a, key), sortValue(b, key)];
    if (left !== right) return left < right === (direction === "asc") ? -1 : 1;
  }
  return 0;
}

function sortValue(image: Image, key: ImageSort["key"]): string | number {
  switch (key) {
    case "id":
      return image.id;
    case "name":
      return image.name ?? "";
    case "status":
      return image.status;
    case "container_format":
      return image.containerFormat ?? "";
    case "disk_format":
      return image.diskFormat ?? "";
    case "size":
      return image.sizeBytes ?? -1;
    case "created_at":
      return image.createdAtMs;
    case "updated_at":
      return image.updatedAtMs;
    default:
      return key satisfies never;
  }
}

const someImage = fc.record({
  name: fc.constantFrom(null, "a", "b", "ä"),
  owner: fc.constantFrom(VIEWER, "other-project", null),
  visibility: fc.constantFrom(...VISIBILITIES),
  diskFormat: fc.constantFrom(null, "raw", "qcow2"),
  isHidden: fc.boolean(),
  isProtected: fc.boolean(),
  sizeBytes: fc.constantFrom(null, 0, 1, 2),
  createdAtMs: fc.nat(5),
  updatedAtMs: fc.nat(3),
  status: fc.constantFrom("queued", "active"),
  tags: fc.subarray(["x", "y"]),
  property: fc.constantFrom(undefined, "1", "2"),
  share: fc.constantFrom(undefined, ...MEMBER_STATUSES),
});
type Seed = typeof someImage extends fc.Arbitrary<infer T> ? T : never;

const someSort = fc.record({ key: fc.constantFrom(...IMAGE_SORT_KEYS), direction: fc.constantFrom("asc", "desc") });

const someListing: fc.Arbitrary<ImageListing> = fc.record({
  viewer: fc.record({ projectId: fc.constant(VIEWER), isAdmin: fc.boolean() }),
  visibility: fc.constantFrom(undefined, "all", ...VISIBILITIES),
  memberStatus: fc.constantFrom("accepted", "all", ...MEMBER_STATUSES),
  sort: fc.array(someSort, { maxLength: 3 }),
  limit: fc.integer({ min: 1, max: 10 }),
  markerId: fc.constant(undefined),
  filter: fc.record(
    {
      isHidden: fc.boolean(),
      oneOf: fc.oneof(fc.constant({}), fc.record({ name: fc.subarray(["a", "b", "ä"], { minLength: 1 }) })),
      equal: fc.constant({}),
      times: fc.array(fc.record({ attribute: fc.constant("created_at"), fromMs: fc.nat(3), beforeMs: fc.nat(6), inverted: fc.boolean() }), {
        maxLength: 1,
      }),
      tags: fc.subarray(["x", "y"]),
      properties: fc.oneof(fc.constant({}), fc.constant({ p: "1" })),
      isProtected: fc.boolean(),
      owner: fc.constantFrom(VIEWER, "other-project"),
      sizeBytesMin: fc.nat(2),
      sizeBytesMax: fc.nat(2),
    },
    { requiredKeys: ["isHidden", "oneOf", "equal", "times", "tags", "properties"] },
  ),
}) as fc.Arbitrary<ImageListing>;

const PLAIN: Seed = {
  name: "a",
  owner: VIEWER,
  visibility: "private",
  diskFormat: null,
  isHidden: false,
  isProtected: false,
  sizeBytes: null,
  createdAtMs: 0,
  updatedAtMs: 0,
  status: "queued",
  tags: [],
  property: undefined,
  share: undefined,
};

const LISTING: ImageListing = {
  viewer: { projectId: VIEWER, isAdmin: false },
  visibility: undefined,
  memberStatus: "accepted",
  filter: { isHidden: false, oneOf: {}, equal: {}, times: [], tags: [], properties: {} },
  sort: [],
  limit: 25,
  markerId: undefined,
};

function toImage({ property, share: _, ...seed }: Seed, index: number): Image {
  const properties: Record<string, string> = property === undefined ? {} : { p: property };
  return {
    ...NO_DATA,
    ...seed,
    id: imageId(`image-${String(index).padStart(2, "0")}`),
    containerFormat: null,
    minDiskGib: 0,
    minRamMib: 0,
    diskId: null,
    properties,
  } as Image;
}
