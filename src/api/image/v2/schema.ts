import Type from "typebox";
import { MEMBER_STATUSES } from "#/domain/image.ts";

export const ImageParams = Type.Object({ imageId: Type.String() });

export const DownloadQuery = Type.Object({
  prefer: Type.Optional(Type.String({ description: "Stores to read from, where there are several." })),
});

export const TagParams = Type.Object({ imageId: Type.String(), tag: Type.String({ minLength: 1, maxLength: 255 }) });

export const MemberParams = Type.Object({ imageId: Type.String(), memberId: Type.String() });

export const AddMember = Type.Object({ member: Type.String({ minLength: 1, maxLength: 255, description: "The id of a project." }) });

export const SetMemberStatus = Type.Object({ status: Type.Enum([...MEMBER_STATUSES]) });

/** Imports are not offered: what is asked of one is checked, and refused. */
export const ImportImage = Type.Object({ method: Type.Object({ name: Type.String() }) });
