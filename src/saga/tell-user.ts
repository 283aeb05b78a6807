import type { Database } from "#/db/database.ts";
import { addMessage } from "#/db/messages.ts";
import type { MessageAction, MessageDetail, MessageResource } from "#/domain/message.ts";
import type { SagaContext } from "#/saga/context.ts";
import type { Failure } from "#/saga/engine/saga.ts";

/** Leaves a message for the project of a record, saying what was tried and why it failed (Block Storage API 3.3). */
export async function tellUser(
  trx: Database,
  { operationId, requestId, clock }: Pick<SagaContext<object>, "operationId" | "requestId" | "clock">,
  resource: { kind: MessageResource; id: string; projectId: string },
  action: MessageAction,
  because: Failure,
): Promise<void> {
  await addMessage(trx, {
    id: operationId,
    projectId: resource.projectId,
    requestId,
    resource: { kind: resource.kind, id: resource.id },
    action,
    detail: detailOf(action, because),
    nowMs: clock.nowMs(),
  });
}

/** Cinder's detail that comes nearest; our own words are with the operation. */
function detailOf(action: MessageAction, { code }: Failure): MessageDetail {
  if (action === "COPY_VOLUME_TO_IMAGE") return "FAILED_TO_UPLOAD_VOLUME";
  if (action === "EXTEND_VOLUME") return "DRIVER_FAILED_EXTEND";
  if (action === "SNAPSHOT_CREATE") return "SNAPSHOT_CREATE_ERROR";
  if (action === "SNAPSHOT_DELETE") return "SNAPSHOT_DELETE_ERROR";
  if (code === "pool_full") return "NOT_ENOUGH_SPACE_FOR_IMAGE";
  if (code === "image_unsafe" || code === "image_format_mismatch") return "IMAGE_FORMAT_UNACCEPTABLE";
  return action === "CREATE_VOLUME_FROM_BACKEND" ? "DRIVER_FAILED_CREATE" : "UNKNOWN_ERROR";
}
