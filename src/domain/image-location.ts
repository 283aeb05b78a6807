import { isCinderLocation } from "./cinder-location.ts";
import { AppError } from "./errors.ts";

/** Where an image's bytes are to be found by others. */
export interface ImageLocation {
  readonly url: string;
  readonly metadata: Readonly<Record<string, string>>;
}

/** Longer than any signed URL; Glance's own schema has 255, which those exceed. */
const URL_LENGTH_MAX = 4096;

/** What kind of location a URL is. All others are refused, as Glance does; a `file` is taken from an NFS export only. */
export type LocationKind = "web" | "object" | "cluster" | "share" | "volume";

/** Throws `bad_request` for what no image can be registered at, as far as the URL alone shows it. */
export function locationKind(url: string): LocationKind {
  const { protocol, username, password } = parse(url);
  if (username !== "" || password !== "") throw invalid("it has a name or password in it: keys belong into the pool's configuration");
  if (isCinderLocation(url)) return "volume";
  const kind = KINDS.get(protocol);
  if (kind === undefined) throw invalid(`no store takes ${protocol}//`);
  return kind;
}

/** As stored: Glance has several names for S3. */
export function normalLocation(url: string): string {
  return url.replace(/^s3\+https?:/, "s3:");
}

const KINDS: ReadonlyMap<string, LocationKind> = new Map([
  ["http:", "web"],
  ["https:", "web"],
  ["s3:", "object"],
  ["s3+http:", "object"],
  ["s3+https:", "object"],
  ["rbd:", "cluster"],
  ["nfs:", "share"],
  // As a store writes it that keeps images as files: taken only where an export is known to have that path.
  ["file:", "share"],
]);

function parse(url: string): URL {
  const parsed = url.length <= URL_LENGTH_MAX && URL.canParse(url) ? new URL(url) : undefined;
  if (!parsed) throw invalid("it is no URL");
  return parsed;
}

/** The URL is not repeated: it may be a signed one. */
function invalid(because: string): AppError {
  return new AppError("bad_request", `Invalid location: ${because}.`);
}

const SHA512 = /^[0-9a-f]{128}$/i;

/** The sha512 that `validation_data` has. `bad_request` for what is no such hash, `conflict` for another algorithm than ours. */
export function expectedHash(data: { readonly os_hash_algo: string; readonly os_hash_value: string }): string {
  if (data.os_hash_algo !== "sha512") throw new AppError("conflict", `os_hash_algo must be sha512, not ${data.os_hash_algo}.`);
  if (!SHA512.test(data.os_hash_value)) throw new AppError("bad_request", "os_hash_value must be 128 hexadecimal digits.");
  return data.os_hash_value.toLowerCase();
}
