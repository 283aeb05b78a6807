import { STATUS_OK } from "#/vm/libvirt/protocol.ts";
import { XdrReader, XdrWriter } from "#/vm/libvirt/xdr.ts";

/** A message as it goes over the socket: its length, a header of six words, a body. virnetprotocol.x. */
export interface Message {
  readonly program: number;
  readonly procedure: number;
  readonly type: number;
  readonly serial: number;
  readonly status: number;
  readonly body: XdrReader;
}

const LENGTH_BYTES = 4;
const HEADER_BYTES = 24;
/** VIR_NET_MESSAGE_MAX with its length; more is a sign that this is not libvirt. */
const MESSAGE_BYTES_MAX = 33_554_432 + LENGTH_BYTES;
/** Every program that is spoken here has version 1. */
const PROGRAM_VERSION = 1;

export function encodeMessage({ program, procedure, type, serial, body }: Pick<Message, "program" | "procedure" | "type" | "serial"> & { readonly body: Buffer }): Buffer {
  const header = new XdrWriter().int(LENGTH_BYTES + HEADER_BYTES + body.length);
  header.int(program).int(PROGRAM_VERSION).int(procedure).int(type).int(serial).int(STATUS_OK);
  return Buffer.concat([header.finish(), body]);
}

/** Cuts a stream of bytes into messages, however they arrive. */
export class MessageDecoder {
  #parts: Buffer[] = [];
  #sizeBytes = 0;

  /** Takes bytes, and gives the messages that are whole with them. Throws RangeError where these are no messages. */
  *push(part: Buffer): Generator<Message> {
    this.#parts.push(part);
    this.#sizeBytes += part.length;
    for (;;) {
      const length = this.#nextLength();
      if (length === undefined || this.#sizeBytes < length) return;
      const all = this.#joined();
      this.#parts = [all.subarray(length)];
      this.#sizeBytes -= length;
      yield decode(all.subarray(LENGTH_BYTES, length));
    }
  }

  #nextLength(): number | undefined {
    if (this.#sizeBytes < LENGTH_BYTES) return undefined;
    if ((this.#parts[0]?.length ?? 0) < LENGTH_BYTES) this.#joined();
    const length = this.#parts[0]?.readUInt32BE(0) ?? 0;
    if (length < LENGTH_BYTES + HEADER_BYTES || length > MESSAGE_BYTES_MAX) throw new RangeError(`a message of ${length} bytes`);
    return length;
  }

  #joined(): Buffer {
    const [first, ...others] = this.#parts;
    const all = first && others.length === 0 ? first : Buffer.concat(this.#parts);
    this.#parts = [all];
    return all;
  }
}

function decode(bytes: Buffer): Message {
  const body = new XdrReader(bytes);
  const [program, , procedure, type, serial, status] = Array.from({ length: 6 }, () => body.int()) as [number, number, number, number, number, number];
  return { program, procedure, type, serial, status, body };
}
