import { type Caller, isAdmin } from "./caller.ts";
import { AppError } from "./errors.ts";
import type { Image, Visibility } from "./image.ts";

/** Whether the image is in the caller's world at all; to others it does not exist. `isMember`: it was shared with the caller's project. */
export function maySee(caller: Caller, image: Pick<Image, "owner" | "visibility">, isMember: boolean): boolean {
  if (isAdmin(caller) || image.owner === caller.projectId) return true;
  if (image.visibility === "shared") return isMember;
  return image.visibility === "public" || image.visibility === "community";
}

/** Throws `forbidden` unless the caller may change the image, which it sees already. Glance's ADMIN_OR_PROJECT_MEMBER. */
export function requireChange(caller: Caller, image: Pick<Image, "id" | "owner">, what: string): void {
  if (isAdmin(caller)) return;
  if (caller.roles.has("member") && image.owner === caller.projectId) return;
  throw new AppError("forbidden", `You may not ${what} image ${image.id}: it needs the role "member" in the project that owns it.`);
}

/** Throws `forbidden` unless the caller may give an image this visibility. Glance's `publicize_image`. */
export function requireVisibility(caller: Caller, visibility: Visibility): void {
  if (visibility === "public" && !isAdmin(caller)) {
    throw new AppError("forbidden", 'You may not make an image public: it needs the role "admin".');
  }
}

/** Throws `forbidden` unless the caller may read the bytes. Readers see records only (Glance's `download_image`). */
export function requireDownload(caller: Caller, image: Pick<Image, "id" | "status">): void {
  if (isAdmin(caller)) return;
  if (!caller.roles.has("member")) throw new AppError("forbidden", `You may not download image ${image.id}: it needs the role "member".`);
  if (image.status === "deactivated")
    throw new AppError("forbidden", "The requested image has been deactivated. Image data download is forbidden.");
}
