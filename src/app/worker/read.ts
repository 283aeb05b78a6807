import Type from "typebox";
import { type Asked, untilCancelled } from "#/app/worker/asked.ts";
import { checked, Range, Source } from "#/app/worker/calls.ts";
import { type Conversation, DATA_BYTES_MAX } from "#/lib/conversation.ts";
import { ZEROES } from "#/lib/zeroes.ts";

/** So many go into one message. */
const ITEMS = 500;

const ReadParameters = Type.Object({ disk: Source, range: Range });
const ChangesParameters = Type.Object({ from: Source, to: Source, range: Range });

/** Every disk that has bytes in the pool, in messages of several. */
export async function list({ pool, conversation, cancelled }: Asked): Promise<void> {
  void untilCancelled(conversation, cancelled);
  await sayAll(conversation, pool.list(), cancelled.signal);
}

/** What may differ between two disks, likewise. */
export async function changes({ pool, parameters, conversation, cancelled, options }: Asked): Promise<void> {
  const { from, to, range } = checked(ChangesParameters, parameters);
  void untilCancelled(conversation, cancelled);
  await sayAll(conversation, pool.changes(from, to, range, options), cancelled.signal);
}

/** The stored bytes, in order; holes are told and not sent. */
export async function read({ pool, parameters, conversation, cancelled, options }: Asked): Promise<void> {
  const { disk, range } = checked(ReadParameters, parameters);
  void untilCancelled(conversation, cancelled);
  let offset = range.start;
  for await (const block of pool.read(disk, range, options)) {
    await sendBlock(conversation, block, offset);
    offset += block.length;
  }
}

/** Until the block may be used again. */
async function sendBlock(conversation: Conversation, block: Uint8Array, offset: number): Promise<void> {
  if (block.buffer === ZEROES.buffer) return conversation.sendHole(block.length, offset);
  for (let start = 0; start < block.length; start += DATA_BYTES_MAX) await conversation.sendData(block.subarray(start, start + DATA_BYTES_MAX), offset + start);
}

async function sayAll(conversation: Conversation, found: AsyncIterable<unknown>, signal: AbortSignal): Promise<void> {
  let items: unknown[] = [];
  for await (const item of found) {
    signal.throwIfAborted();
    items.push(item);
    if (items.length < ITEMS) continue;
    await conversation.say({ items });
    items = [];
  }
  if (items.length > 0) await conversation.say({ items });
}
