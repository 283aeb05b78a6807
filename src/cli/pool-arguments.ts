import { readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import type { OptionSchema } from "#/config/options.ts";
import { POOL_SCHEMA } from "#/config/schema.ts";
import { AppError } from "#/domain/errors.ts";

/**
 * A pool as somebody wrote it on the command line: the name of a file with one pool as in the configuration, or
 * `name=fast driver=rbd roles=volumes,cache rbd.pool=volumes`. Paths become absolute, from the file or from the working folder.
 * Errors: `config_invalid`.
 */
export function poolFromArguments(args: readonly string[], { cwd = process.cwd(), readFile = (path: string) => readFileSync(path, "utf8") } = {}): Record<string, unknown> {
  const [first = ""] = args;
  if (args.length === 1 && !first.includes("=")) return poolFromFile(resolve(cwd, first), readFile);
  const pool: Record<string, unknown> = {};
  for (const word of args) {
    const [, key = "", text = ""] = /^([^=]+)=(.*)$/s.exec(word) ?? refuse(`"${word}" is not KEY=VALUE.`);
    place(pool, key.split("."), readValue(key, text, cwd));
  }
  return pool;
}

function poolFromFile(path: string, readFile: (path: string) => string): Record<string, unknown> {
  let pool: unknown;
  try {
    pool = JSON.parse(readFile(path));
  } catch (error) {
    refuse(`${path} cannot be read as a pool: ${(error as Error).message}.`);
  }
  if (typeof pool !== "object" || pool === null || Array.isArray(pool)) refuse(`${path} is not one pool: it must be { "name": …, "driver": …, … }.`);
  return absolute(POOL_SCHEMA as OptionSchema, pool, dirname(path)) as Record<string, unknown>;
}

/** The value that the text stands for: what the schema says of the option decides. What it is, Mica checks. */
function readValue(key: string, text: string, cwd: string): unknown {
  const schema = key.split(".").reduce<OptionSchema | undefined>((at, name) => at?.properties?.[name], POOL_SCHEMA as OptionSchema);
  if (!schema) return refuse(`A pool has no "${key}". ${knownKeys(key)}`);
  if (schema.type === "array") return text.split(",").map((item) => item.trim());
  if (schema.type === "integer" || schema.type === "number") return Number.isNaN(Number(text)) || text.trim() === "" ? text : Number(text);
  if (schema.type === "boolean") return text === "true" || text === "false" ? text === "true" : text;
  return absolute(schema, text, cwd);
}

/** The options of the section that was meant, else those of every pool. */
function knownKeys(key: string): string {
  const all = Object.entries((POOL_SCHEMA as OptionSchema).properties ?? {});
  const sections = all.filter(([, { type }]) => type === "object");
  const section = sections.find(([name]) => key.startsWith(`${name}.`));
  if (section) return `There are ${Object.keys(section[1].properties ?? {}).map((name) => `${section[0]}.${name}`).join(", ")}.`;
  const common = all.filter(([, { type }]) => type !== "object").map(([name]) => name);
  return `There are ${common.join(", ")}, and those of the drivers ${sections.map(([name]) => name).join(", ")}, like rbd.pool.`;
}

function absolute(schema: OptionSchema | undefined, value: unknown, base: string): unknown {
  if (schema?.path && typeof value === "string") return resolve(base, value);
  if (Array.isArray(value)) return value.map((item) => absolute(schema?.items, item, base));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, child]) => [name, absolute(schema?.properties?.[name], child, base)]));
}

function place(target: Record<string, unknown>, [name = "", ...rest]: readonly string[], value: unknown): void {
  if (rest.length === 0) target[name] = value;
  else place((target[name] ??= {}) as Record<string, unknown>, rest, value);
}

function refuse(problem: string): never {
  throw new AppError("config_invalid", problem);
}
