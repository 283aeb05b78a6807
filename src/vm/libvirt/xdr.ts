/**
 * XDR (RFC 4506), as much of it as libvirt's protocol has: big-endian numbers, and bytes that are padded to whole words of four.
 */

export class XdrWriter {
  readonly #parts: Buffer[] = [];

  int(value: number): this {
    const word = Buffer.alloc(4);
    word.writeInt32BE(value | 0);
    return this.#add(word);
  }

  unsignedHyper(value: number | bigint): this {
    const words = Buffer.alloc(8);
    words.writeBigUInt64BE(BigInt(value));
    return this.#add(words);
  }

  /** A fixed number of bytes, which both sides know. */
  opaque(bytes: Uint8Array): this {
    this.#parts.push(Buffer.from(bytes));
    const padding = -bytes.length & 3;
    return padding === 0 ? this : this.#add(Buffer.alloc(padding));
  }

  bytes(bytes: Uint8Array): this {
    return this.int(bytes.length).opaque(bytes);
  }

  string(text: string): this {
    return this.bytes(Buffer.from(text));
  }

  optionalString(text: string | undefined): this {
    return text === undefined ? this.int(0) : this.int(1).string(text);
  }

  finish(): Buffer {
    return Buffer.concat(this.#parts);
  }

  #add(part: Buffer): this {
    this.#parts.push(part);
    return this;
  }
}

/** Reads what `XdrWriter` writes; throws RangeError where the message is too short for it. */
export class XdrReader {
  readonly #message: Buffer;
  #at = 0;

  constructor(message: Buffer) {
    this.#message = message;
  }

  int(): number {
    return this.opaque(4).readInt32BE(0);
  }

  hyper(): number {
    return Number(this.opaque(8).readBigInt64BE(0));
  }

  unsignedHyper(): number {
    return Number(this.opaque(8).readBigUInt64BE(0));
  }

  opaque(length: number): Buffer {
    const end = this.#at + length;
    if (length < 0 || end > this.#message.length) throw new RangeError(`${length} bytes at ${this.#at} of a message of ${this.#message.length}`);
    const bytes = this.#message.subarray(this.#at, end);
    this.#at = end + (-length & 3);
    return bytes;
  }

  string(): string {
    return this.opaque(this.int()).toString("utf8");
  }

  optionalString(): string | undefined {
    return this.int() === 0 ? undefined : this.string();
  }

  /** An array whose length comes first; each element takes at least a word. */
  array<Element>(read: () => Element): Element[] {
    const length = this.int();
    if (length < 0 || length * 4 > this.#message.length) throw new RangeError(`${length} elements in a message of ${this.#message.length} bytes`);
    return Array.from({ length }, read);
  }
}
