import type { Server } from "#/api/server.ts";
import type { ImageStore } from "#/app/image-stores.ts";
import { requireRole } from "#/domain/caller.ts";
import { IMAGE_SCHEMA, MEMBER_SCHEMA } from "./attributes.ts";
import type { ImagesApi } from "./images-api.ts";
import { StoreParams } from "./schema.ts";
import { MiB } from "#/lib/units.ts";

/** What can be known of this service: schemas, import methods, stores, usage. */
export function addDiscoveryRoutes(app: Server, { images, stores }: ImagesApi): void {
  app.get("/v2/schemas/image", async () => IMAGE_SCHEMA);
  app.get("/v2/schemas/images", async () => collectionSchema("images", IMAGE_SCHEMA));
  app.get("/v2/schemas/member", async () => MEMBER_SCHEMA);
  app.get("/v2/schemas/members", async () => ({
    ...collectionSchema("members", MEMBER_SCHEMA),
    links: [{ href: "{schema}", rel: "describedby" }],
  }));

  app.get("/v2/info/import", async () => ({
    "import-methods": { description: "Import methods available.", type: "array", value: [] }, // Images are uploaded, not imported.
  }));

  app.get("/v2/info/stores", async ({ caller }) => ({ stores: stores.list(caller).map(storeView) }));
  app.get("/v2/info/stores/detail", async ({ caller }) => ({
    stores: stores.details(caller).map((store) => ({ ...storeView(store), type: store.type, weight: 0, properties: {} })),
  }));

  app.delete("/v2/stores/:store/:imageId", { schema: { params: StoreParams } }, async ({ caller, params }) =>
    stores.removeFrom(caller, params.store, params.imageId),
  );

  app.get("/v2/info/usage", async ({ caller }) => {
    requireRole(caller, "reader", "see the usage of images");
    const { count, sizeBytes, savingCount } = await images.usage(caller);
    const unlimited = (usage: number) => ({ usage, limit: -1 });
    return {
      usage: {
        image_size_total: unlimited(Math.ceil(sizeBytes / MiB)),
        image_stage_total: unlimited(0), // Nothing is staged.
        image_count_total: unlimited(count),
        image_count_uploading: unlimited(savingCount),
      },
    };
  });
}

/** Glance has its flags as text, and leaves out what is not so. */
function storeView({ id, isDefault, isReadOnly }: ImageStore) {
  return { id, ...(isDefault && { default: "true" }), ...(isReadOnly && { "read-only": "true" }) };
}

function collectionSchema(name: string, item: object) {
  return {
    name,
    properties: {
      [name]: { type: "array", items: item },
      first: { type: "string" },
      next: { type: "string" },
      schema: { type: "string" },
    },
    links: [
      { href: "{first}", rel: "first" },
      { href: "{next}", rel: "next" },
      { href: "{schema}", rel: "describedby" },
    ],
  };
}
