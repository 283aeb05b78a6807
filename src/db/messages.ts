import {
  MESSAGE_ACTIONS,
  MESSAGE_DETAILS,
  MESSAGE_RESOURCES,
  type MessageAction,
  type MessageDetail,
  type MessageResource,
  messageEventId,
  messageWords,
} from "#/domain/message.ts";
import { DAY_MS } from "#/lib/units.ts";
import type { Database } from "./database.ts";
import { type PageRequest, pageOf } from "./page.ts";
import type { MessageTable } from "./tables.ts";

/** How long a message is kept. Cinder's `message_ttl`. */
const MESSAGE_LIFETIME_MS = 30 * DAY_MS;

export interface NewMessage {
  /** Given by the caller, who may repeat the call after a crash: the id of the operation does. */
  readonly id: string;
  readonly projectId: string;
  readonly requestId: string;
  readonly resource: { readonly kind: MessageResource; readonly id: string };
  readonly action: MessageAction;
  readonly detail: MessageDetail;
  readonly nowMs: number;
}

/** Leaves a message for the project, and drops those whose time is over. Repeatable: the same id is recorded once. */
export async function addMessage(trx: Database, { id, projectId, requestId, resource, action, detail, nowMs }: NewMessage): Promise<void> {
  await trx.deleteFrom("message").where("expires_at", "<", nowMs).execute();
  await trx
    .insertInto("message")
    .values({
      id,
      project_id: projectId,
      request_id: requestId,
      resource_type: MESSAGE_RESOURCES[resource.kind],
      resource_id: resource.id,
      event_id: messageEventId(resource.kind, action, detail),
      action_id: MESSAGE_ACTIONS[action].id,
      detail_id: MESSAGE_DETAILS[detail].id,
      user_message: messageWords(action, detail),
      message_level: "ERROR",
      created_at: nowMs,
      expires_at: nowMs + MESSAGE_LIFETIME_MS,
    })
    .onConflict((conflict) => conflict.column("id").doNothing())
    .execute();
}

export async function findMessage(db: Database, id: string, nowMs: number): Promise<MessageTable | undefined> {
  return db.selectFrom("message").selectAll().where("id", "=", id).where("expires_at", ">=", nowMs).executeTakeFirst();
}

export async function removeMessage(db: Database, id: string): Promise<void> {
  await db.deleteFrom("message").where("id", "=", id).execute();
}

export interface MessageFilter {
  readonly projectId: string;
  readonly nowMs: number;
  /** Exact values by column. */
  readonly equal: Readonly<Partial<Record<"resource_id" | "resource_type" | "event_id" | "request_id" | "message_level", string>>>;
}

export const MESSAGE_SORT_COLUMNS: Readonly<Record<string, string>> = {
  id: "id",
  created_at: "created_at",
  event_id: "event_id",
  resource_type: "resource_type",
  resource_uuid: "resource_id",
  request_id: "request_id",
  message_level: "message_level",
};

export async function listMessages(db: Database, filter: MessageFilter, page: PageRequest): Promise<MessageTable[]> {
  let query = db.selectFrom("message").selectAll().where("project_id", "=", filter.projectId).where("expires_at", ">=", filter.nowMs);
  for (const [column, value] of Object.entries(filter.equal)) query = query.where(column as keyof typeof filter.equal, "=", value);
  return pageOf(query, page).execute();
}
