import Type from "typebox";
import { parserOf } from "#/api/parse.ts";
import type { Server } from "#/api/server.ts";
import type { BlockDeviceTable } from "#/db/server-tables.ts";
import { AppError } from "#/domain/errors.ts";
import { DeviceTag } from "./block-devices.ts";
import { Flag, flag, IdParams, strict } from "./fields.ts";
import { Query, STRICT_QUERIES_SINCE } from "./query.ts";
import type { ComputeApi } from "./compute-api.ts";

const VolumeParams = Type.Object({ id: Type.String(), volumeId: Type.String() });
const ATTACH_2_1 = {
  volumeId: Type.String({ minLength: 1, maxLength: 255 }),
  device: Type.Optional(Type.Union([Type.String({ pattern: "^$|(^/dev/x{0,1}[a-z]{0,1}d{0,1})([a-z]+)[0-9]*$" }), Type.Null()])),
};
const ATTACH_2_49 = { ...ATTACH_2_1, tag: Type.Optional(DeviceTag) };
const ATTACH_2_79 = { ...ATTACH_2_49, delete_on_termination: Type.Optional(Flag) };
const attach_2_1 = parserOf(strict({ volumeAttachment: strict(ATTACH_2_1) }));
const attach_2_49 = parserOf(strict({ volumeAttachment: strict(ATTACH_2_49) }));
const attach_2_79 = parserOf(strict({ volumeAttachment: strict(ATTACH_2_79) }));

const parseUpdate = parserOf(
  strict({
    volumeAttachment: strict({
      ...ATTACH_2_79,
      tag: Type.Optional(Type.Union([DeviceTag, Type.Null()])),
      id: Type.Optional(Type.String()),
      serverId: Type.Optional(Type.String()),
    }),
  }),
);
const parseSwap = parserOf(strict({ volumeAttachment: Type.Object(ATTACH_2_1) }));

/** The first microversion whose attach answers without a body, before the volume is there. */
const ASYNCHRONOUS_SINCE = 101;

export function addAttachmentRoutes(app: Server, { serverVolumes }: ComputeApi): void {
  app.get("/servers/:id/os-volume_attachments", { schema: { params: IdParams } }, async ({ caller, params, query, microversion }) => {
    const asked = new Query(query);
    const [limit, offset] = [asked.takeCount("limit"), asked.takeCount("offset") ?? 0];
    asked.refuseRest(microversion, STRICT_QUERIES_SINCE);
    const devices = await serverVolumes.list(caller, params.id);
    const shown = devices.slice(offset, limit === undefined ? undefined : offset + limit);
    return { volumeAttachments: shown.map((device) => attachmentView(device, microversion)) };
  });

  app.post("/servers/:id/os-volume_attachments", { schema: { params: IdParams } }, async ({ caller, params, body, microversion }, reply) => {
    const { volumeId, device, tag, delete_on_termination } = parseAttach(microversion, body);
    const attached = await serverVolumes.attach(caller, params.id, {
      volumeId,
      device: device || undefined,
      tag,
      deleteOnTermination: flag(delete_on_termination),
      shelvedToo: microversion >= 20,
    });
    if (microversion >= ASYNCHRONOUS_SINCE) return reply.code(202).send();
    return { volumeAttachment: attachmentView(attached, microversion) };
  });

  app.get("/servers/:id/os-volume_attachments/:volumeId", { schema: { params: VolumeParams } }, async ({ caller, params, microversion }) => ({
    volumeAttachment: attachmentView(await serverVolumes.get(caller, params.id, params.volumeId), microversion),
  }));

  app.put("/servers/:id/os-volume_attachments/:volumeId", { schema: { params: VolumeParams } }, async ({ caller, params, body, microversion }, reply) => {
    const change: AttachmentChange = microversion >= 85 ? parseUpdate(body).volumeAttachment : parseSwap(body).volumeAttachment;
    const device = await serverVolumes.get(caller, params.id, params.volumeId);
    if (change.volumeId !== params.volumeId) {
      await serverVolumes.swap(caller, params.id, params.volumeId, change.volumeId);
      return reply.code(202).send();
    }
    if (microversion < 85) throw new AppError("bad_request", `volume ${params.volumeId} already attached`);
    refuseOtherChanges(device, change);
    if (change.delete_on_termination !== undefined) {
      await serverVolumes.setDeleteOnTermination(caller, params.id, params.volumeId, flag(change.delete_on_termination));
    }
    return reply.code(202).send();
  });

  app.delete("/servers/:id/os-volume_attachments/:volumeId", { schema: { params: VolumeParams } }, async ({ caller, params }, reply) => {
    await serverVolumes.detach(caller, params.id, params.volumeId);
    return reply.code(202).send();
  });
}

type AttachmentChange = ReturnType<typeof parseUpdate>["volumeAttachment"];
type AttachBody = ReturnType<typeof attach_2_79>["volumeAttachment"];

function parseAttach(minor: number, body: unknown): AttachBody {
  if (minor >= 79) return attach_2_79(body).volumeAttachment;
  return minor >= 49 ? attach_2_49(body).volumeAttachment : attach_2_1(body).volumeAttachment;
}

/** Of an attachment only delete_on_termination changes; the rest may be repeated as it is. */
function refuseOtherChanges(device: BlockDeviceTable, change: AttachmentChange): void {
  const asIs: Readonly<Record<string, readonly (string | null | undefined)[]>> = {
    device: [`/dev/${device.target}`],
    tag: [device.tag],
    serverId: [device.server_id],
    id: [device.id, device.volume_id],
  };
  for (const [name, values] of Object.entries(asIs)) {
    const value = change[name as keyof typeof change];
    if (value !== undefined && !values.includes(value as string | null)) {
      throw new AppError("bad_request", `The ${name} of an attachment cannot be changed.`);
    }
  }
}

function attachmentView(device: BlockDeviceTable, minor: number): object {
  return {
    ...(minor < 89 && { id: device.volume_id }),
    serverId: device.server_id,
    volumeId: device.volume_id,
    device: `/dev/${device.target}`,
    ...(minor >= 70 && { tag: device.tag }),
    ...(minor >= 79 && { delete_on_termination: device.delete_on_termination === 1 }),
    ...(minor >= 89 && { attachment_id: device.id, bdm_uuid: device.id }),
  };
}
