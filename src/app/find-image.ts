import type { Database } from "#/db/database.ts";
import { isImageMember } from "#/db/image-members.ts";
import { loadImage } from "#/db/images.ts";
import { type Caller, requireRole } from "#/domain/caller.ts";
import { AppError } from "#/domain/errors.ts";
import type { Image } from "#/domain/image.ts";
import { maySee, requireChange } from "#/domain/image-access.ts";

/** The image; `not_found` where there is none, or none in the caller's world: nobody learns of others' private images. */
export async function findVisibleImage(db: Database, caller: Caller, id: string): Promise<Image> {
  requireRole(caller, "reader", "see images");
  const image = await loadImage(db, id);
  if (image && maySee(caller, image, await isImageMember(db, id, caller.projectId))) return image;
  throw new AppError("not_found", `No image found with ID ${id}`);
}

/** The same, with `forbidden` where the caller may see but not change it. `what` goes before "image …". */
export async function findOwnImage(db: Database, caller: Caller, id: string, what: string): Promise<Image> {
  const image = await findVisibleImage(db, caller, id);
  requireChange(caller, image, what);
  return image;
}
