import type { FastifyRequest } from "fastify";
import type { Static, TSchema } from "typebox";
import { oneAction, parserOf } from "#/api/parse.ts";
import type { Server } from "#/api/server.ts";
import type { ImageOfVolume } from "#/app/volume-uploads.ts";
import { AppError } from "#/domain/errors.ts";
import { flag, IdParams } from "./fields.ts";
import type { VolumeApi } from "./volume-api.ts";
import {
  Extend,
  Nothing,
  ResetStatus,
  Retype,
  SetBootable,
  SetImageMetadata,
  UnsetImageMetadata,
  UpdateReadonlyFlag,
  UploadImage,
  UploadImage3_0,
} from "./volume-actions-schema.ts";
import { startedUploadView } from "./volume-actions-view.ts";

/** What an action works with, beside its argument. */
interface Call {
  readonly api: VolumeApi;
  readonly request: FastifyRequest;
  readonly volumeId: string;
}

interface Answer {
  readonly status: 200 | 202;
  readonly body?: object;
}

type Action = (call: Call, argument: unknown) => Promise<Answer>;

/** The body of POST /volumes/{id}/action has one key, the action's name. */
const ACTIONS: Readonly<Record<string, Action>> = {
  "os-extend": action(Extend, async ({ api, request, volumeId }, { new_size }) => {
    await api.volumeOperations.extend(request.caller, volumeId, Number(new_size), { inUse: request.microversion >= 42 });
    return { status: 202 };
  }),
  "os-set_bootable": action(SetBootable, async ({ api, request, volumeId }, { bootable }) => {
    await api.volumes.setBootable(request.caller, volumeId, flag(bootable));
    return { status: 200 };
  }),
  "os-update_readonly_flag": action(UpdateReadonlyFlag, async ({ api, request, volumeId }, { readonly }) => {
    await api.volumes.setReadonly(request.caller, volumeId, flag(readonly));
    return { status: 202 };
  }),
  "os-set_image_metadata": action(SetImageMetadata, async ({ api, request, volumeId }, { metadata }) => ({
    status: 200,
    body: { metadata: await api.volumeMetadata.mergeOfImage(request.caller, volumeId, metadata) },
  })),
  "os-unset_image_metadata": action(UnsetImageMetadata, async ({ api, request, volumeId }, { key }) => {
    await api.volumeMetadata.removeOfImage(request.caller, volumeId, key);
    return { status: 200 };
  }),
  "os-show_image_metadata": action(Nothing, async ({ api, request, volumeId }) => ({
    status: 200,
    body: { metadata: await api.volumeMetadata.ofImage(request.caller, volumeId) },
  })),
  "os-reset_status": action(ResetStatus, async ({ api, request, volumeId }, { status, attach_status, migration_status }) => {
    const migrationStatus = migration_status === "none" ? null : migration_status;
    await api.volumes.resetStatus(request.caller, volumeId, { status, attachStatus: attach_status, migrationStatus });
    return { status: 202 };
  }),
  "os-retype": action(Retype, async ({ api, request, volumeId }, { new_type }) => {
    await api.volumeRetyping.retype(request.caller, volumeId, new_type);
    return { status: 202 };
  }),
  "os-force_delete": action(Nothing, async ({ api, request, volumeId }) => {
    await api.volumeOperations.delete(request.caller, volumeId, { cascade: false, force: true });
    return { status: 202 };
  }),
  "os-reserve": action(Nothing, async ({ api, request, volumeId }) => {
    await api.volumes.reserve(request.caller, volumeId);
    return { status: 202 };
  }),
  "os-unreserve": action(Nothing, async ({ api, request, volumeId }) => {
    await api.volumes.unreserve(request.caller, volumeId);
    return { status: 202 };
  }),
  "os-volume_upload_image": async ({ api, request, volumeId }, argument) => {
    const image = imageOfVolume(request.microversion >= 1 ? parseUpload(argument) : parseUpload3_0(argument));
    const started = await api.volumeUploads.toImage(request.caller, volumeId, image);
    return { status: 202, body: { "os-volume_upload_image": startedUploadView(started, api.viewers.of(request)) } };
  },
};

export function addVolumeActionRoutes(app: Server, api: VolumeApi): void {
  app.post("/volumes/:id/action", { schema: { params: IdParams } }, async (request, reply) => {
    const [name, argument] = oneAction(request.body);
    const run = Object.hasOwn(ACTIONS, name) ? ACTIONS[name] : undefined;
    if (!run) throw new AppError("bad_request", `There is no such action: ${name}`);
    const { status, body } = await run({ api, request, volumeId: request.params.id }, argument);
    return reply.code(status).send(body);
  });
}

function action<Schema extends TSchema>(schema: Schema, run: (call: Call, argument: Static<Schema>) => Promise<Answer>): Action {
  const parse = parserOf(schema);
  return (call, argument) => run(call, parse(argument));
}

const parseUpload3_0 = parserOf(UploadImage3_0);
const parseUpload = parserOf(UploadImage);

function imageOfVolume(body: Static<typeof UploadImage>): ImageOfVolume {
  return {
    name: body.image_name,
    diskFormat: body.disk_format ?? "raw",
    containerFormat: body.container_format ?? "bare",
    visibility: body.visibility ?? "private",
    isProtected: flag(body.protected),
    force: flag(body.force),
  };
}
