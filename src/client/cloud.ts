/**
 * Where Mica is and who we are there, found as every OpenStack client finds it: the OS_ variables, then clouds.yaml
 * (https://docs.openstack.org/openstacksdk/latest/user/config/configuration.html). At the end of the line stands the file
 * that `mica serve` writes into its data folder.
 */
import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { parse } from "yaml";
import { ClientError } from "./errors.ts";

export interface Cloud {
  /** As in "http://127.0.0.1:6422/identity/v3". */
  readonly authUrl: string;
  /** The `auth` of POST /v3/auth/tokens. */
  readonly auth: object;
  /** For messages: a file, or "the environment". */
  readonly from: string;
}

export interface CloudSearch {
  /** From --os-cloud; else OS_CLOUD, else "mica". */
  readonly name?: string | undefined;
  readonly dataDir: string;
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly cwd?: string;
  readonly readFile?: (path: string) => string | undefined;
}

/** Throws `no_access` where there is none. */
export function findCloud({ name, dataDir, env = process.env, cwd = process.cwd(), readFile = readIfThere }: CloudSearch): Cloud {
  if (!name && env.OS_AUTH_URL) return cloudFromEnvironment(env);
  const wanted = name ?? (env.OS_CLOUD || "mica");
  const files = cloudFiles(env, cwd, dataDir);
  for (const path of files) {
    const text = readFile(path);
    const entry = text === undefined ? undefined : cloudEntry(text, wanted, path);
    if (entry) return cloudFromEntry(entry, path);
  }
  throw new ClientError("no_access", `There is no cloud "${wanted}" in ${files.join(", ")}, and OS_AUTH_URL is not set.`, {
    fix: "Start Mica (`make start`), which writes clouds.yaml into its data folder; name that folder with --data-dir if it is not the default one.",
  });
}

function cloudFiles(env: Readonly<Record<string, string | undefined>>, cwd: string, dataDir: string): string[] {
  const config = env.XDG_CONFIG_HOME || join(env.HOME || homedir(), ".config");
  const usual = [join(cwd, "clouds.yaml"), join(config, "openstack", "clouds.yaml"), "/etc/openstack/clouds.yaml"];
  return [...(env.OS_CLIENT_CONFIG_FILE ? [env.OS_CLIENT_CONFIG_FILE] : []), ...usual, join(dataDir, "clouds.yaml")];
}

type Entry = Readonly<Record<string, string | undefined>>;

function cloudFromEnvironment(env: Entry): Cloud {
  const names = Object.keys(env).filter((name) => name.startsWith("OS_"));
  return cloudFromEntry(Object.fromEntries(names.map((name) => [name.slice(3).toLowerCase(), env[name]])), "the environment");
}

/** One entry of `clouds:`, with its `auth` section laid flat into it. */
function cloudEntry(text: string, name: string, path: string): Entry | undefined {
  try {
    const file = parse(text) as { clouds?: Record<string, { auth?: Entry }> } | null;
    const entry = file?.clouds?.[name];
    return entry && { ...(entry as Entry), ...entry.auth };
  } catch (cause) {
    throw new ClientError("no_access", `Cannot read ${path}: ${(cause as Error).message}`, {
      cause,
      fix: "Mend the YAML, or move the file away.",
    });
  }
}

function cloudFromEntry(entry: Entry, from: string): Cloud {
  if (!entry.auth_url)
    throw new ClientError("no_access", `The cloud in ${from} has no auth_url.`, { fix: "Write it: `mica clouds` shows an example." });
  const root = entry.auth_url.replace(/\/+$/, "");
  return { authUrl: root.endsWith("/v3") ? root : `${root}/v3`, auth: authOf(entry), from };
}

/** Identity v3's request, "Password authentication" and "Authenticating with an application credential". */
function authOf(entry: Entry): object {
  const credential = entry.application_credential_id ? { id: entry.application_credential_id } : undefined;
  if (credential) {
    const secret = entry.application_credential_secret;
    return { identity: { methods: ["application_credential"], application_credential: { ...credential, secret } } };
  }
  const user = entry.user_id ? { id: entry.user_id } : { name: entry.username, domain: domainOf(entry, "user_domain") };
  const project = entry.project_id ? { id: entry.project_id } : { name: entry.project_name, domain: domainOf(entry, "project_domain") };
  return { identity: { methods: ["password"], password: { user: { ...user, password: entry.password } } }, scope: { project } };
}

function domainOf(entry: Entry, kind: "user_domain" | "project_domain"): object {
  const name = entry[`${kind}_name`];
  return name ? { name } : { id: entry[`${kind}_id`] ?? "default" };
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    if (["ENOENT", "ENOTDIR", "EACCES"].includes((cause as NodeJS.ErrnoException).code ?? "")) return undefined;
    throw cause;
  }
}
