import Type from "typebox";
import { count, MetadataPairs, Name, strict } from "./fields.ts";
import { type Action, type Answer, action, type Call } from "./server-action.ts";

/** nova/api/openstack/compute/schemas/{servers,create_backup}.py. */
const CreateImage = strict({ name: Name, metadata: Type.Optional(MetadataPairs) });
const CreateBackup = strict({ name: Name, backup_type: Type.String(), rotation: count(0), metadata: Type.Optional(MetadataPairs) });

/** Images of servers. */
export const IMAGES: Readonly<Record<string, Action>> = {
  createImage: action(CreateImage, async (call, { name, metadata = {} }) => {
    return madeImage(call, await call.api.serverImages.create(call.request.caller, call.serverId, { name, metadata }));
  }),
  createBackup: action(CreateBackup, async (call, { name, metadata = {}, backup_type: type, rotation }) => {
    const backup = { type, rotation: Number(rotation) };
    const imageId = await call.api.serverImages.create(call.request.caller, call.serverId, { name, metadata, backup });
    return backup.rotation === 0 ? { status: 202 } : madeImage(call, imageId);
  }),
};

/** From 2.45 on the id is in the body, before that at the end of an address. */
function madeImage({ api, request }: Call, imageId: string): Answer {
  if (request.microversion >= 45) return { status: 202, body: { image_id: imageId } };
  return { status: 202, location: `${api.viewers.baseUrl(request)}/image/v2/images/${imageId}` };
}
