import type { CallOptions } from "#/app/worker/calls.ts";
import type { Exports } from "#/app/worker/exports.ts";
import { asAppError } from "#/domain/errors.ts";
import type { Conversation, Message } from "#/lib/conversation.ts";
import type { Pool } from "#/storage/pool.ts";

/** Where the disks of a worker are shown to QEMU. */
export interface NbdServer {
  readonly port: number;
  /** Resolves when a disk is not held any more after its last user has left: until then it may be locked. `disk` is the name of its exports, up to the last slash. */
  released(disk: string): Promise<void>;
  /** Sends away all who have the disk open, and resolves when no program has. */
  close(disk: string): Promise<void>;
}

/** One call of a worker, with all that it needs. */
export interface Asked {
  readonly pool: Pool;
  readonly parameters: unknown;
  readonly conversation: Conversation;
  /** Set when the asker says so or is gone. */
  readonly cancelled: AbortController;
  /** With the signal of `cancelled`. */
  readonly options: CallOptions;
  readonly exports: Exports;
  readonly nbd: NbdServer;
}

/** Listens while a call is at work. */
export async function untilCancelled(conversation: Conversation, cancelled: AbortController): Promise<void> {
  try {
    for (;;) {
      const part = await conversation.next();
      if (part?.kind !== "message" || "cancel" in part.value) break;
    }
  } catch {
    // They are gone, which comes to the same.
  }
  cancelled.abort();
}

/** An error as the asker hears of it. Of what a pool says it is the reason alone, since the asker knows what was being done. A defect stays here. */
export function told(error: unknown): Message {
  const known = asAppError(error);
  const { code, message } = asAppError(known?.cause) ?? known ?? { code: "internal", message: "an unexpected error: the worker's log has more" };
  return { code, message };
}
