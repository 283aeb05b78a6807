import type { Server } from "#/api/server.ts";
import { requireRole } from "#/domain/caller.ts";
import { AppError } from "#/domain/errors.ts";
import type { ImagesApi } from "./routes.ts";
import { ImageParams, ImportImage } from "./schema.ts";

/** Other ways by which Glance gets an image's bytes; none is enabled, and each is refused as Glance refuses what is not. */
export function addImportRoutes(app: Server, { images }: ImagesApi): void {
  app.put("/v2/images/:imageId/stage", { schema: { params: ImageParams } }, async ({ caller, params }) => {
    await images.show(caller, params.imageId);
    throw new AppError("not_found", "The import method glance-direct is not enabled: send the bytes to /file.");
  });

  app.post("/v2/images/:imageId/import", { schema: { params: ImageParams, body: ImportImage } }, async ({ caller, params, body }) => {
    await images.show(caller, params.imageId);
    throw new AppError("bad_request", `Unknown import method name '${body.method.name}'.`);
  });

  /** Glance's tasks are its imports. */
  app.get("/v2/images/:imageId/tasks", { schema: { params: ImageParams } }, async ({ caller, params }) => {
    await images.show(caller, params.imageId);
    return { tasks: [] };
  });

  app.post("/v2/images/:imageId/locations", { schema: { params: ImageParams } }, async ({ caller, params }) => {
    await images.show(caller, params.imageId);
    requireRole(caller, "service", "add locations to images");
    throw new AppError("bad_request", "No store here takes the bytes of others in place: upload them to /file.");
  });

  app.get("/v2/images/:imageId/locations", { schema: { params: ImageParams } }, async ({ caller, params }) => {
    requireRole(caller, "service", "see the locations of images");
    return images.locations(caller, params.imageId);
  });
}
