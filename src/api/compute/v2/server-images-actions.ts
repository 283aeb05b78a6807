import Type from "typebox";
import { requireFreeProperty } from "#/api/image/v2/attributes.ts";
import { count, MetadataPairs, Name, strict } from "./fields.ts";
import { type Action, type Answer, action, type Call } from "./server-action.ts";

/** nova/api/openstack/compute/schemas/{servers,create_backup}.py. */
const CreateImage = strict({ name: Name, metadata: Type.Optional(MetadataPairs) });
const CreateBackup = strict({ name: Name, backup_type: Type.String(), rotation: count(0), metadata: Type.Optional(MetadataPairs) });

/** Images of servers. */
export const IMAGES: Readonly<Record<string, Action>> = {
  createImage: action(CreateImage, async (call, { name, metadata = {} }) => {
    await requireMetadata(call, metadata);
    return madeImage(call, await call.api.serverImages.create(call.request.caller, call.serverId, { name, metadata }));
  }),
  createBackup: action(CreateBackup, async (call, { name, metadata = {}, backup_type: type, rotation }) => {
    await requireMetadata(call, metadata);
    requireFreeProperty("backup_type", type);
    const backup = { type, rotation: Number(rotation) };
    const imageId = await call.api.serverImages.create(call.request.caller, call.serverId, { name, metadata, backup });
    const isKept = backup.rotation > 0;
    return isKept || hasIdInBody(call) ? madeImage(call, imageId) : { status: 202 };
  }),
};

/** As the Image API takes it: what is given here becomes properties of the image. How much may be given is its own business only since 2.39. */
async function requireMetadata({ api, request }: Call, metadata: Readonly<Record<string, string>>): Promise<void> {
  for (const [name, value] of Object.entries(metadata)) requireFreeProperty(name, value);
  if (request.microversion < 39) await api.serverLimits.refuseImageMetadata(request.caller, metadata);
}

/** From 2.45 on the id is in the body, before that at the end of an address: which one that is not kept does not have (nova/api/openstack/compute/create_backup.py). */
function madeImage(call: Call, imageId: string): Answer {
  const { api, request } = call;
  if (hasIdInBody(call)) return { status: 202, body: { image_id: imageId } };
  return { status: 202, location: `${api.viewers.baseUrl(request)}/image/v2/images/${imageId}` };
}

function hasIdInBody({ request }: Call): boolean {
  return request.microversion >= 45;
}
