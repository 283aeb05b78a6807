import type { AppContext } from "#/app/context.ts";
import { findOwnImage, findVisibleImage } from "#/app/find-image.ts";
import type { Database } from "#/db/database.ts";
import { findImageMember, insertImageMember, listImageMembers, removeImageMember, setImageMemberStatus } from "#/db/image-members.ts";
import { type Caller, isAdmin, requireRole } from "#/domain/caller.ts";
import { AppError } from "#/domain/errors.ts";
import { type Image, type ImageMember, type MemberStatus, requireMemberCount } from "#/domain/image.ts";

/** The projects that an image is shared with. Its owner invites; only the invited one accepts or rejects. */
export class ImageMembers {
  readonly #context: AppContext;

  constructor(context: AppContext) {
    this.#context = context;
  }

  /** All of them for the owner, their own for members. */
  async list(caller: Caller, imageId: string): Promise<ImageMember[]> {
    const { db } = this.#context;
    const image = await findVisibleImage(db, caller, imageId);
    requireShared(image);
    const members = await listImageMembers(db, imageId);
    return members.filter((member) => mayKnow(caller, image, member.memberId));
  }

  async show(caller: Caller, imageId: string, memberId: string): Promise<ImageMember> {
    return this.#find(this.#context.db, caller, imageId, memberId);
  }

  async add(caller: Caller, imageId: string, memberId: string): Promise<ImageMember> {
    const { db, clock } = this.#context;
    return db.transaction().execute(async (trx) => {
      const image = await findOwnImage(trx, caller, imageId, "share");
      requireShared(image);
      const members = await listImageMembers(trx, imageId);
      if (members.some((member) => member.memberId === memberId)) {
        throw new AppError("conflict", `Member ${memberId} is duplicated for image ${imageId}`);
      }
      requireMemberCount(members.length + 1);
      const now = clock.nowMs();
      const member: ImageMember = { imageId: image.id, memberId, status: "pending", createdAtMs: now, updatedAtMs: now };
      await insertImageMember(trx, member);
      return member;
    });
  }

  async setStatus(caller: Caller, imageId: string, memberId: string, status: MemberStatus): Promise<ImageMember> {
    const { db, clock } = this.#context;
    return db.transaction().execute(async (trx) => {
      const member = await this.#find(trx, caller, imageId, memberId);
      requireRole(caller, "member", "answer an invitation to an image");
      if (!isAdmin(caller) && caller.projectId !== memberId) {
        throw new AppError("forbidden", `Only project ${memberId} itself may accept or reject image ${imageId}.`);
      }
      const now = clock.nowMs();
      await setImageMemberStatus(trx, member, status, now);
      return { ...member, status, updatedAtMs: now };
    });
  }

  async remove(caller: Caller, imageId: string, memberId: string): Promise<void> {
    await this.#context.db.transaction().execute(async (trx) => {
      requireShared(await findOwnImage(trx, caller, imageId, "change the members of"));
      if (!(await removeImageMember(trx, imageId, memberId))) throw memberNotFound(imageId, memberId);
    });
  }

  async #find(db: Database, caller: Caller, imageId: string, memberId: string): Promise<ImageMember> {
    const image = await findVisibleImage(db, caller, imageId);
    requireShared(image);
    const member = await findImageMember(db, imageId, memberId);
    if (!member || !mayKnow(caller, image, memberId)) throw memberNotFound(imageId, memberId);
    return member;
  }
}

function mayKnow(caller: Caller, image: Image, memberId: string): boolean {
  return isAdmin(caller) || image.owner === caller.projectId || caller.projectId === memberId;
}

function requireShared({ id, visibility }: Image): void {
  if (visibility !== "shared") throw new AppError("forbidden", `Image ${id} is ${visibility}: only shared images have members.`);
}

function memberNotFound(imageId: string, memberId: string): AppError {
  return new AppError("not_found", `${memberId} not found in the member list of the image ${imageId}.`);
}
