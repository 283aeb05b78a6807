import { randomBytes, scrypt, timingSafeEqual } from "node:crypto";
import { promisify } from "node:util";
import { AppError } from "#/domain/errors.ts";
import { Turns } from "./turns.ts";

/** What one guess costs: `N` rounds of `r` × 128 bytes, `p` times. */
export interface ScryptCost {
  readonly N: number;
  readonly r: number;
  readonly p: number;
}

/** 32 MiB and a quarter of a CPU-second: OWASP's Password Storage Cheat Sheet, "scrypt", the row for 32 MiB. */
const SCRYPT_COST: ScryptCost = { N: 2 ** 15, r: 8, p: 3 };

/** Hashing runs on libuv's four threads, which files need as well: half of them, and not all memory, may be busy with logins. */
const HASHES_AT_ONCE = 2;
const HASHES_WAITING_MAX = 64;

const KEY_BYTES = 32;
const SALT_BYTES = 16;
const derive = promisify<string, Buffer, number, object, Buffer>(scrypt);

/** Hashes passwords and other secrets as `scrypt$N$r$p$salt$key`, so that the cost can be raised and old hashes still be read. */
export class Passwords {
  readonly #cost: ScryptCost;
  readonly #turns = new Turns(HASHES_AT_ONCE, HASHES_WAITING_MAX);

  constructor(cost: ScryptCost = SCRYPT_COST) {
    this.#cost = cost;
  }

  async hash(secret: string): Promise<string> {
    const salt = randomBytes(SALT_BYTES);
    const key = await this.#derive(secret, salt, this.#cost);
    const { N, r, p } = this.#cost;
    return ["scrypt", N, r, p, salt.toString("base64url"), key.toString("base64url")].join("$");
  }

  /** Takes as long where there is no hash, so that the time does not tell which users exist. `too_many_requests` in a flood. */
  async verify(secret: string, hash: string | undefined): Promise<boolean> {
    const { cost, salt, key } = parseHash(hash) ?? { cost: this.#cost, salt: Buffer.alloc(SALT_BYTES), key: undefined };
    const derived = await this.#derive(secret, salt, cost);
    return key !== undefined && timingSafeEqual(derived, key);
  }

  async #derive(secret: string, salt: Buffer, cost: ScryptCost): Promise<Buffer> {
    const maxmem = 128 * cost.r * (cost.N + cost.p + 2); // OpenSSL's own reckoning, EVP_PBE_scrypt(3).
    const turn = this.#turns.take(() => derive(secret.normalize("NFC"), salt, KEY_BYTES, { ...cost, maxmem }));
    if (turn === undefined) throw new AppError("too_many_requests", "Too many logins at once.");
    return turn;
  }
}

function parseHash(hash: string | undefined): { cost: ScryptCost; salt: Buffer; key: Buffer } | undefined {
  const [scheme, N, r, p, salt, key] = hash?.split("$") ?? [];
  if (scheme !== "scrypt" || salt === undefined || key === undefined) return undefined;
  return {
    cost: { N: Number(N), r: Number(r), p: Number(p) },
    salt: Buffer.from(salt, "base64url"),
    key: Buffer.from(key, "base64url"),
  };
}
