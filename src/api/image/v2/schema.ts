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

/** What `validation_data` may be: nothing at all, in some clients. */
const ValidationData = Type.Object({ os_hash_algo: Type.String(), os_hash_value: Type.String(), checksum: Type.Optional(Type.String()) });

export const LocationValue = Type.Object({
  url: Type.String({ minLength: 1, description: "Where the bytes are." }),
  metadata: Type.Optional(Type.Record(Type.String(), Type.Unknown(), { description: "Of the store; it is not kept." })),
  validation_data: Type.Optional(Type.Union([ValidationData, Type.Object({}, { additionalProperties: false })])),
});

export const StoreParams = Type.Object({ store: Type.String(), imageId: Type.String() });

/** Imports are not offered: what is asked of one is checked, and refused. */
export const ImportImage = Type.Object({ method: Type.Object({ name: Type.String() }) });
