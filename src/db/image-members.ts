import type { ImageMember, MemberStatus } from "#/domain/image.ts";
import { imageId } from "#/domain/ids.ts";
import type { Database } from "./database.ts";
import type { ImageMemberTable } from "./tables.ts";

export async function findImageMember(db: Database, image: string, memberId: string): Promise<ImageMember | undefined> {
  const row = await db
    .selectFrom("image_member")
    .selectAll()
    .where("image_id", "=", image)
    .where("member_id", "=", memberId)
    .executeTakeFirst();
  return row && toMember(row);
}

export async function isImageMember(db: Database, image: string, projectId: string): Promise<boolean> {
  return (await findImageMember(db, image, projectId)) !== undefined;
}

/** Oldest first; there are at most MEMBERS_MAX. */
export async function listImageMembers(db: Database, image: string): Promise<ImageMember[]> {
  const rows = await db
    .selectFrom("image_member")
    .selectAll()
    .where("image_id", "=", image)
    .orderBy("created_at")
    .orderBy("member_id")
    .execute();
  return rows.map(toMember);
}

export async function insertImageMember(trx: Database, member: ImageMember): Promise<void> {
  await trx
    .insertInto("image_member")
    .values({
      image_id: member.imageId,
      member_id: member.memberId,
      status: member.status,
      created_at: member.createdAtMs,
      updated_at: member.updatedAtMs,
    })
    .execute();
}

export async function setImageMemberStatus(trx: Database, member: ImageMember, status: MemberStatus, nowMs: number): Promise<void> {
  await trx
    .updateTable("image_member")
    .set({ status, updated_at: nowMs })
    .where("image_id", "=", member.imageId)
    .where("member_id", "=", member.memberId)
    .execute();
}

/** False where there was no such member. */
export async function removeImageMember(trx: Database, image: string, memberId: string): Promise<boolean> {
  const { numDeletedRows } = await trx
    .deleteFrom("image_member")
    .where("image_id", "=", image)
    .where("member_id", "=", memberId)
    .executeTakeFirst();
  return numDeletedRows === 1n;
}

function toMember(row: ImageMemberTable): ImageMember {
  return {
    imageId: imageId(row.image_id),
    memberId: row.member_id,
    status: row.status,
    createdAtMs: row.created_at,
    updatedAtMs: row.updated_at,
  };
}
