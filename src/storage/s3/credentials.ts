import { readFile } from "node:fs/promises";
import { AppError } from "#/domain/errors.ts";
import { MINUTE_MS } from "#/lib/units.ts";

export interface Credentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string;
  /** When they are to be asked for again, so that keys can be exchanged without a restart. */
  readonly expiration: Date;
}

const KEPT_MS = 5 * MINUTE_MS;

/** The keys of a pool: of its file, else of the environment. `pool_unavailable` where there are none; no message holds a part of them. */
export async function readCredentials(
  { credentialsPath, profile }: { readonly credentialsPath?: string | undefined; readonly profile: string },
  env: Readonly<Record<string, string | undefined>> = process.env,
): Promise<Credentials> {
  const found = credentialsPath === undefined ? fromEnvironment(env) : parseProfile(await read(credentialsPath), profile);
  const { aws_access_key_id: accessKeyId, aws_secret_access_key: secretAccessKey, aws_session_token: sessionToken } = found;
  if (!accessKeyId || !secretAccessKey) throw new AppError("pool_unavailable", whereMissing(credentialsPath, profile));
  return { accessKeyId, secretAccessKey, ...(sessionToken && { sessionToken }), expiration: new Date(Date.now() + KEPT_MS) };
}

function fromEnvironment(env: Readonly<Record<string, string | undefined>>): Record<string, string | undefined> {
  return Object.fromEntries(["aws_access_key_id", "aws_secret_access_key", "aws_session_token"].map((name) => [name, env[name.toUpperCase()]]));
}

/** One section of an INI file; lines that begin with # or ; are comments. */
function parseProfile(text: string, profile: string): Record<string, string | undefined> {
  const found: Record<string, string> = {};
  let section = "";
  for (const line of text.split(/\r?\n/).map((line) => line.trim())) {
    section = /^\[(?:profile\s+)?([^\]]+)\]$/.exec(line)?.[1]?.trim() ?? section;
    const [, name, value] = /^([a-z_]+)\s*=\s*(.*)$/.exec(line) ?? [];
    if (section === profile && name !== undefined && value !== undefined) found[name] = value;
  }
  return found;
}

async function read(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (cause) {
    throw new AppError("pool_unavailable", `its credentials ${path} cannot be read: ${(cause as Error).message}`, { cause });
  }
}

function whereMissing(path: string | undefined, profile: string): string {
  if (path === undefined) return "it has no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment, or credentialsPath in its section";
  return `its credentials ${path} have no aws_access_key_id and aws_secret_access_key in the section [${profile}]`;
}
