import { AppError } from "./errors.ts";

export const KEYPAIR_TYPES = ["ssh", "x509"] as const;
export type KeypairType = (typeof KEYPAIR_TYPES)[number];

/** A public key of a user, which servers let in. */
export interface Keypair {
  /** A number that nothing else refers to; Nova shows it. */
  readonly id: number;
  readonly userId: string;
  readonly name: string;
  readonly type: KeypairType;
  /** Pairs of hex digits with colons: MD5 of an SSH key, SHA-1 of a certificate, as Nova has it. */
  readonly fingerprint: string;
  readonly publicKey: string;
  readonly createdAtMs: number;
}

/** What sshd lets in, and Nova too; DSA is out since OpenSSH 7. */
const SSH_KEY_TYPES: ReadonlySet<string> = new Set([
  "ssh-rsa",
  "ssh-ed25519",
  "ecdsa-sha2-nistp256",
  "ecdsa-sha2-nistp384",
  "ecdsa-sha2-nistp521",
  "sk-ssh-ed25519@openssh.com",
  "sk-ecdsa-sha2-nistp256@openssh.com",
]);

/**
 * The bytes of a public key in OpenSSH's form, `ssh-rsa AAAA… comment`: what a fingerprint is made of. Throws 400 in
 * Nova's words where it is none: wrong type, not base64, or other fields inside than its type says (RFC 4253 §6.6).
 */
export function sshKeyBytes(publicKey: string): Uint8Array {
  const [type = "", base64 = "", ...rest] = publicKey.trim().split(/[ \t]+/);
  const isOneLine = !/[\r\n]/.test(publicKey.trim());
  if (!isOneLine || !SSH_KEY_TYPES.has(type) || !isBase64(base64) || rest.some((word) => word.includes("\0"))) throw invalidKey();
  const bytes = Uint8Array.fromBase64(base64);
  const [first, ...fields] = fieldsOf(bytes);
  if (!first || new TextDecoder().decode(first) !== type || fields.length === 0) throw invalidKey();
  return bytes;
}

/** 400 in Nova's words (exception.InvalidKeypair). */
export function invalidKey(): AppError {
  return new AppError("bad_request", "Keypair data is invalid: failed to generate fingerprint");
}

/** 404 in Nova's words (exception.KeypairNotFound). */
export const keypairNotFound = (name: string, userId: string): AppError => new AppError("not_found", `Keypair ${name} not found for user ${userId}`);

function isBase64(text: string): boolean {
  return text.length % 4 === 0 && /^[A-Za-z0-9+/]+={0,2}$/.test(text);
}

/** Each field has its length in 4 bytes before it; together they are the whole key. */
function fieldsOf(bytes: Uint8Array): Uint8Array[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const fields: Uint8Array[] = [];
  for (let offset = 0; offset < bytes.length; ) {
    const end = offset + 4 <= bytes.length ? offset + 4 + view.getUint32(offset) : Number.POSITIVE_INFINITY;
    if (end > bytes.length) throw invalidKey();
    fields.push(bytes.subarray(offset + 4, end));
    offset = end;
  }
  return fields;
}
