/** Messages of the NBD handshake, as both sides need them. Source: github.com/NetworkBlockDevice/nbd, doc/proto.md; the names in capitals are those of that text. */

/** What a server says first: newstyle, without padding. */
export function greeting(): Buffer {
  const bytes = Buffer.from("NBDMAGICIHAVEOPT\0\0", "latin1");
  bytes.writeUInt16BE(NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES, 16);
  return bytes;
}

export function isGreeting(bytes: Buffer): boolean {
  return bytes.length === GREETING_BYTES && bytes.toString("latin1", 0, 16) === "NBDMAGICIHAVEOPT";
}

/** What a client says to that. */
export function clientFlags(): Buffer {
  return Buffer.from([0, 0, 0, NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES]);
}

/** A client's option. */
export function option(number: number, data: Buffer = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(OPTION_HEAD_BYTES);
  head.write("IHAVEOPT", "latin1");
  head.writeUInt32BE(number, 8);
  head.writeUInt32BE(data.length, 12);
  return Buffer.concat([head, data]);
}

/** The number and length of an option by its first 16 bytes; undefined where they are none. */
export function readOptionHead(head: Buffer): { readonly number: number; readonly lengthBytes: number } | undefined {
  if (head.toString("latin1", 0, 8) !== "IHAVEOPT") return undefined;
  return { number: head.readUInt32BE(8), lengthBytes: head.readUInt32BE(12) };
}

/** A server's reply to an option. */
export function optionReply(number: number, type: number, data: Buffer = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(OPTION_REPLY_HEAD_BYTES);
  head.writeBigUInt64BE(NBD_OPTION_REPLY_MAGIC, 0);
  head.writeUInt32BE(number, 8);
  head.writeUInt32BE(type, 12);
  head.writeUInt32BE(data.length, 16);
  return Buffer.concat([head, data]);
}

/** The data of NBD_OPT_GO for the export, without wishes for information. */
export function nameWithoutWishes(name: string): Buffer {
  const bytes = Buffer.from(name);
  const data = Buffer.alloc(4 + bytes.length + 2);
  data.writeUInt32BE(bytes.length, 0);
  data.set(bytes, 4);
  return data;
}

/** The name that the data of an option begins with. */
export function exportName(data: Buffer): string {
  const length = data.length >= 4 ? data.readUInt32BE(0) : 0;
  return data.toString("utf8", 4, Math.min(4 + length, data.length));
}

export const GREETING_BYTES = 18;
export const OPTION_HEAD_BYTES = 16;
export const OPTION_REPLY_HEAD_BYTES = 20;
/** A name has at most 4096 bytes; wishes for information are of 2 bytes each. */
export const OPTION_BYTES_MAX = 8192;

export const NBD_OPT_EXPORT_NAME = 1;
export const NBD_OPT_ABORT = 2;
export const NBD_OPT_STARTTLS = 5;
export const NBD_OPT_INFO = 6;
export const NBD_OPT_GO = 7;
export const NBD_OPT_STRUCTURED_REPLY = 8;
export const NBD_OPT_LIST_META_CONTEXT = 9;
export const NBD_OPT_SET_META_CONTEXT = 10;
export const NBD_REP_ACK = 1;
export const NBD_REP_INFO = 3;
export const NBD_REP_FLAG_ERROR = 0x8000_0000;
export const NBD_REP_ERR_UNSUP = 0x8000_0001;
export const NBD_REP_ERR_TLS_REQD = 0x8000_0005;
export const NBD_REP_ERR_UNKNOWN = 0x8000_0006;
export const NBD_REP_ERR_INVALID = 0x8000_0003;
export const NBD_INFO_EXPORT = 0;
export const NBD_INFO_BLOCK_SIZE = 3;

const NBD_FLAG_FIXED_NEWSTYLE = 1;
const NBD_FLAG_NO_ZEROES = 2;
const NBD_OPTION_REPLY_MAGIC = 0x3e889045565a9n;
