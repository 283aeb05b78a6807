import type { AppContext } from "#/app/context.ts";
import { fetchPage, type ListRequest, type Page, refuseUnknownMarker, sortBy } from "#/app/lists.ts";
import { findMessage, listMessages, MESSAGE_SORT_COLUMNS, type MessageFilter, removeMessage } from "#/db/messages.ts";
import type { MessageTable } from "#/db/tables.ts";
import { type Caller, isAdmin, requireRole } from "#/domain/caller.ts";
import { AppError } from "#/domain/errors.ts";

export interface MessageListRequest extends ListRequest {
  readonly equal: MessageFilter["equal"];
}

/** What went wrong with a project's volumes and snapshots, in words. */
export class Messages {
  readonly #context: AppContext;

  constructor(context: AppContext) {
    this.#context = context;
  }

  async list(caller: Caller, request: MessageListRequest): Promise<Page<MessageTable>> {
    requireRole(caller, "reader", "list messages");
    const { db, clock } = this.#context;
    const marker = request.marker === undefined ? undefined : await this.#find(caller, request.marker);
    refuseUnknownMarker(marker, request.marker);
    const filter = { projectId: caller.projectId, nowMs: clock.nowMs(), equal: request.equal };
    return fetchPage(request, { sort: sortBy(request.sort, MESSAGE_SORT_COLUMNS), marker }, (page) => listMessages(db, filter, page));
  }

  async get(caller: Caller, id: string): Promise<MessageTable> {
    requireRole(caller, "reader", "see messages");
    const message = await this.#find(caller, id);
    if (!message) throw new AppError("not_found", `Message ${id} could not be found.`);
    return message;
  }

  async remove(caller: Caller, id: string): Promise<void> {
    requireRole(caller, "member", "delete messages");
    await removeMessage(this.#context.db, (await this.get(caller, id)).id);
  }

  async #find(caller: Caller, id: string): Promise<MessageTable | undefined> {
    const { db, clock } = this.#context;
    const message = await findMessage(db, id, clock.nowMs());
    return message && (isAdmin(caller) || message.project_id === caller.projectId) ? message : undefined;
  }
}
