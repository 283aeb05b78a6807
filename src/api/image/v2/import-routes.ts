import type { Server } from "#/api/server.ts";
import { AppError } from "#/domain/errors.ts";
import { parseLocation } from "./location.ts";
import type { ImagesApi } from "./images-api.ts";
import { ImageParams, ImportImage } from "./schema.ts";

/** Other ways to bytes than an upload: locations; and imports, of which none is enabled, and each is refused as Glance refuses what is not. */
export function addImportRoutes(app: Server, { images, locations }: ImagesApi): void {
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

  app.post("/v2/images/:imageId/locations", { schema: { params: ImageParams } }, async ({ caller, params, body }, reply) => {
    await locations.add(caller, params.imageId, parseLocation(body));
    return reply.code(202).send();
  });

  app.get("/v2/images/:imageId/locations", { schema: { params: ImageParams } }, async ({ caller, params }) =>
    locations.list(caller, params.imageId),
  );
}
