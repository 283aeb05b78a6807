import { createHash, generateKeyPair, X509Certificate } from "node:crypto";
import { promisify } from "node:util";
import type { AppContext } from "#/app/context.ts";
import type { Page } from "#/app/lists.ts";
import type { Quotas } from "#/app/quotas.ts";
import { countKeypairs, findKeypair, insertKeypair, listKeypairs, removeKeypair } from "#/db/keypairs.ts";
import { type Caller, requireRole } from "#/domain/caller.ts";
import { AppError } from "#/domain/errors.ts";
import { invalidKey, type Keypair, type KeypairType, keypairNotFound, sshKeyBytes } from "#/domain/keypair.ts";
import { UNLIMITED } from "#/domain/quota.ts";

const makeKeyPair = promisify(generateKeyPair);

/** As Nova's own (crypto.py); what a client wants stronger, it makes itself and imports. */
const RSA_BITS = 2048;

export interface NewKeypair {
  readonly name: string;
  readonly type: KeypairType;
  /** Undefined: a pair is made, and the private key given once. */
  readonly publicKey: string | undefined;
}

/** A key pair that was just made; the private key is kept nowhere. */
export interface MadeKeypair {
  readonly keypair: Keypair;
  /** PEM (PKCS #1); undefined where the public key was brought along. */
  readonly privateKey: string | undefined;
}

/** Key pairs belong to users, not to projects. Admins may look after those of others: `userId` in each call. */
export class Keypairs {
  readonly #context: AppContext;
  readonly #quotas: Quotas;

  constructor(context: AppContext, quotas: Quotas) {
    this.#context = context;
    this.#quotas = quotas;
  }

  async list(caller: Caller, { userId, marker, limit }: { userId: string | undefined; marker: string | undefined; limit: number }): Promise<Page<Keypair>> {
    const owner = ownerOf(caller, userId);
    const { db } = this.#context;
    if (marker !== undefined && !(await findKeypair(db, owner, marker))) throw new AppError("bad_request", `marker [${marker}] not found`);
    const keypairs = limit === 0 ? [] : await listKeypairs(db, owner, { marker, limit: limit + 1 });
    return { records: keypairs.slice(0, limit), more: keypairs.length > limit };
  }

  async get(caller: Caller, name: string, userId?: string): Promise<Keypair> {
    const owner = ownerOf(caller, userId);
    const keypair = await findKeypair(this.#context.db, owner, name);
    if (!keypair) throw keypairNotFound(name, owner);
    return keypair;
  }

  /** Imports the public key, or makes a pair. 409 where the user has one of that name. */
  async create(caller: Caller, { name, type, publicKey }: NewKeypair, userId?: string): Promise<MadeKeypair> {
    const owner = ownerOf(caller, userId);
    const { db, clock } = this.#context;
    const limit = await this.#quotas.limit(db, caller.projectId, "key_pairs");
    if (limit !== UNLIMITED && (await countKeypairs(db, owner)) >= limit) {
      throw new AppError("server_quota_exceeded", "Quota exceeded, too many key pairs.");
    }
    const keys = publicKey === undefined ? await makeKeys(type) : { publicKey, privateKey: undefined };
    const fingerprint = fingerprintOf(type, keys.publicKey);
    const keypair = await insertKeypair(db, { userId: owner, name, type, fingerprint, publicKey: keys.publicKey, createdAtMs: clock.nowMs() });
    if (!keypair) throw new AppError("conflict", `Key pair '${name}' already exists.`);
    return { keypair, privateKey: keys.privateKey };
  }

  async remove(caller: Caller, name: string, userId?: string): Promise<void> {
    const owner = ownerOf(caller, userId);
    if (!(await removeKeypair(this.#context.db, owner, name))) throw keypairNotFound(name, owner);
  }
}

function ownerOf(caller: Caller, userId: string | undefined): string {
  if (userId === undefined || userId === caller.userId) return caller.userId;
  requireRole(caller, "admin", "look after the key pairs of another user");
  return userId;
}

/** Nova makes certificates for Windows with the openssl program; who needs one brings it along. */
async function makeKeys(type: KeypairType): Promise<{ publicKey: string; privateKey: string }> {
  if (type === "x509") throw new AppError("bad_request", "Certificates are not made here: send the certificate as public_key.");
  const { publicKey, privateKey } = await makeKeyPair("rsa", { modulusLength: RSA_BITS });
  const { n = "", e = "" } = publicKey.export({ format: "jwk" });
  const bytes = Buffer.concat([field(Buffer.from("ssh-rsa")), field(integer(e)), field(integer(n))]);
  return {
    publicKey: `ssh-rsa ${bytes.toString("base64")} Generated-by-Mica`,
    privateKey: privateKey.export({ type: "pkcs1", format: "pem" }).toString(),
  };
}

function fingerprintOf(type: KeypairType, publicKey: string): string {
  if (type === "x509") return certificateFingerprint(publicKey);
  const digest = createHash("md5").update(sshKeyBytes(publicKey)).digest("hex");
  return digest.replaceAll(/..(?!$)/g, "$&:");
}

function certificateFingerprint(pem: string): string {
  try {
    return new X509Certificate(pem).fingerprint.toLowerCase();
  } catch {
    throw invalidKey();
  }
}

/** RFC 4251 §5: `string`. */
function field(content: Buffer): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(content.length);
  return Buffer.concat([length, content]);
}

/** RFC 4251 §5: `mpint`, which is negative where its first bit is set. */
function integer(base64url: string): Buffer {
  const bytes = Buffer.from(base64url, "base64url");
  return (bytes[0] ?? 0) >= 0x80 ? Buffer.concat([Buffer.alloc(1), bytes]) : bytes;
}
