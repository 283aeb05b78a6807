import type { Server } from "#/api/server.ts";
import type { MessageTable } from "#/db/tables.ts";
import { IdParams } from "./fields.ts";
import { ListQuery } from "./list-query.ts";
import type { VolumeApi } from "./volume-api.ts";
import { timeView } from "./time.ts";
import type { Viewer } from "./viewer.ts";

/** The filters that a list of messages has, for `GET /resource_filters`. */
export const MESSAGE_FILTERS = ["resource_uuid", "resource_type", "event_id", "request_id", "message_level"] as const;

/** Why operations on volumes and snapshots failed, in words. */
export function addMessageRoutes(app: Server, { messages, viewers, limitMax }: VolumeApi): void {
  app.get("/messages", { config: { since: 3 } }, async (request) => {
    const query = new ListQuery(request.query);
    const page = await messages.list(request.caller, { ...query.takePage(limitMax), equal: equalFilters(query) });
    const viewer = viewers.of(request);
    const links = viewer.nextLinks(page.more ? page.records.at(-1)?.id : undefined);
    return { messages: page.records.map((message) => messageView(message, viewer)), ...(links && { messages_links: links }) };
  });

  app.get("/messages/:id", { config: { since: 3 }, schema: { params: IdParams } }, async (request) => ({
    message: messageView(await messages.get(request.caller, request.params.id), viewers.of(request)),
  }));

  app.delete("/messages/:id", { config: { since: 3 }, schema: { params: IdParams } }, async ({ caller, params }, reply) => {
    await messages.remove(caller, params.id);
    return reply.code(204).send();
  });
}

function equalFilters(query: ListQuery): Record<string, string> {
  const values = MESSAGE_FILTERS.map((name) => [name === "resource_uuid" ? "resource_id" : name, query.take(name)] as const);
  return Object.fromEntries(values.filter((entry): entry is [(typeof entry)[0], string] => entry[1] !== undefined));
}

function messageView(message: MessageTable, viewer: Viewer): object {
  return {
    id: message.id,
    event_id: message.event_id,
    user_message: message.user_message,
    message_level: message.message_level,
    created_at: timeView(message.created_at),
    guaranteed_until: timeView(message.expires_at),
    request_id: message.request_id,
    resource_type: message.resource_type,
    resource_uuid: message.resource_id,
    links: viewer.links("messages", message.id),
  };
}
