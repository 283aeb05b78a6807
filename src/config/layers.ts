import { dirname } from "node:path";
import { AppError } from "#/domain/errors.ts";
import { OPTIONS, type Option, type OptionSchema } from "./options.ts";
import { CONFIG_SCHEMA } from "./schema.ts";

/** Where a value comes from; the later wins. */
export const SOURCES = ["default", "file", "environment", "flag"] as const;
export type Source = (typeof SOURCES)[number];

/** A value that somebody has written down. */
export interface Setting {
  readonly option: Option;
  readonly value: unknown;
  readonly source: Source;
  /** For messages: "MICA_LISTEN in the environment". */
  readonly where: string;
  /** What relative paths in it are relative to. */
  readonly base: string;
}

export interface Layer {
  readonly settings: readonly Setting[];
  readonly problems: readonly string[];
  readonly warnings: readonly string[];
}

/** `values` by key, as the command line gave them. */
export function flagLayer(values: Readonly<Record<string, string | undefined>>, cwd: string): Layer {
  const settings = OPTIONS.flatMap((option) => {
    const text = option.flag === undefined ? undefined : values[option.key];
    if (text === undefined) return [];
    return [{ option, value: fromText(option.schema, text), source: "flag" as const, where: `the flag ${option.flag}`, base: cwd }];
  });
  return { settings, problems: [], warnings: [] };
}

/** An empty variable counts as not set, as in a shell's `${NAME:-}`. */
export function environmentLayer(env: Readonly<Record<string, string | undefined>>, cwd: string): Layer {
  const settings = OPTIONS.flatMap((option) => {
    const text = env[option.env];
    if (!text) return [];
    return [
      {
        option,
        value: fromText(option.schema, text),
        source: "environment" as const,
        where: `${option.env} in the environment`,
        base: cwd,
      },
    ];
  });
  return { settings, ...strangers(env) };
}

/**
 * Variables that begin with MICA_ and are no option. Refused where they look like a slip of the pen; only warned of
 * where they do not, since others write there as well: Kubernetes gives every pod MICA_SERVICE_HOST and MICA_PORT for a service
 * that is called "mica".
 */
function strangers(env: Readonly<Record<string, string | undefined>>): Pick<Layer, "problems" | "warnings"> {
  const known = [...OPTIONS.map(({ env }) => env), "MICA_CONFIG"];
  const problems: string[] = [];
  const warnings: string[] = [];
  for (const name of Object.keys(env).filter((name) => name.startsWith("MICA_") && !known.includes(name))) {
    const meant = nearest(name, known);
    if (meant) problems.push(`${name} in the environment is unknown: did you mean ${meant}?`);
    else warnings.push(`${name} in the environment is no option of Mica, and ignored.`);
  }
  return { problems, warnings };
}

/** The file is JSON; lines that begin with `//` are comments. */
export function fileLayer(path: string, text: string): Layer {
  const found = flatten(parseFile(path, text), CONFIG_SCHEMA as OptionSchema, []);
  const problems: string[] = [];
  const settings: Setting[] = [];
  for (const [key, value] of found) {
    const option = OPTIONS.find((option) => option.key === key);
    if (!option) problems.push(unknownKey(key, path));
    else if (option.schema.secret) problems.push(`${key} in ${path} is a secret: give it as ${option.env} in the environment only`);
    else settings.push({ option, value, source: "file", where: path, base: dirname(path) });
  }
  return { settings, problems, warnings: [] };
}

function unknownKey(key: string, path: string): string {
  const meant = nearest(
    key,
    OPTIONS.map(({ key }) => key),
  );
  return `${key} in ${path} is unknown${meant ? `: did you mean ${meant}?` : ""}`;
}

function parseFile(path: string, text: string): unknown {
  try {
    // An emptied line keeps the numbers in the parser's message right.
    return JSON.parse(text.replaceAll(/^\s*\/\/.*$/gm, ""));
  } catch (cause) {
    throw new AppError("config_invalid", `Cannot read the configuration ${path}: ${(cause as Error).message}`, { cause });
  }
}

/** The leaves of the file by dotted key; a section stops where the schema has no section any more. */
function flatten(value: unknown, schema: OptionSchema | undefined, path: readonly string[]): [string, unknown][] {
  const isSection = schema?.type === "object" && typeof value === "object" && value !== null && !Array.isArray(value);
  if (!isSection) return [[path.join(".") || "(the whole file)", value]];
  return Object.entries(value).flatMap(([name, child]) => flatten(child, schema.properties?.[name], [...path, name]));
}

/** Text becomes what the schema wants where it can; else it stays text, and the check names it. */
function fromText({ type }: OptionSchema, text: string): unknown {
  if ((type === "integer" || type === "number") && /^-?\d+(\.\d+)?$/.test(text)) return Number(text);
  if (type === "boolean" && /^(true|false)$/.test(text)) return text === "true";
  if (type === "array") return fromJson(text);
  return text;
}

function fromJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** The candidate that differs by one or two letters. */
function nearest(name: string, candidates: readonly string[]): string | undefined {
  const closest = candidates
    .map((candidate) => ({ candidate, distance: editDistance(name, candidate) }))
    .sort((a, b) => a.distance - b.distance)[0];
  return closest && closest.distance <= 2 ? closest.candidate : undefined;
}

/** Levenshtein's distance. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = (row[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, (row[j] as number) + 1, (next[j - 1] as number) + 1));
    }
    row = next;
  }
  return row[b.length] as number;
}
