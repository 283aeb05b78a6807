import { createHash } from "node:crypto";
import { KiB } from "#/lib/units.ts";
import { type HashStream, openHashStream } from "#/transfer/hash-workers.ts";
import { allDone } from "#/transfer/outlet.ts";
import { type SharedBlock, SLOT_BYTES } from "#/transfer/slots.ts";

/** The hashes that an image has: md5 is Glance's `checksum`, sha512 its `os_hash_value`; both in hexadecimal. */
export interface Hashes {
  readonly md5: string;
  readonly sha512: string;
}

/** Content up to this size is hashed at once, in half a millisecond (462 MiB/s for both): to start threads for it would take 100. */
const SMALL_BYTES = 256 * KiB;

/** Both hashes of content that comes in blocks of `SLOT_BYTES`, of which only the last is shorter; each in a thread of its own where there are two. */
export class Hashing implements Disposable {
  #streams: readonly [HashStream, HashStream] | undefined;
  #small: Hashes | undefined;

  /** In order. Resolves when the block may change again; several may be under way. */
  async update(block: SharedBlock): Promise<void> {
    if (!this.#streams && block.length < SLOT_BYTES && block.length <= SMALL_BYTES) {
      this.#small = hashesOf(block);
      return;
    }
    this.#streams ??= [openHashStream("md5"), openHashStream("sha512")];
    await allDone(this.#streams.map((stream) => stream.update(block)));
  }

  async digest(): Promise<Hashes> {
    if (!this.#streams) return this.#small ?? hashesOf(new Uint8Array(0));
    const [md5, sha512] = await Promise.all(this.#streams.map((stream) => stream.digest()));
    return { md5: md5 as string, sha512: sha512 as string };
  }

  [Symbol.dispose](): void {
    for (const stream of this.#streams ?? []) stream.close();
  }
}

function hashesOf(content: Uint8Array): Hashes {
  return { md5: createHash("md5").update(content).digest("hex"), sha512: createHash("sha512").update(content).digest("hex") };
}
