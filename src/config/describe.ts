import type { LoadedConfig } from "./load.ts";
import type { Source } from "./layers.ts";
import { allowedWords } from "./allowed.ts";
import { OPTIONS, type Option, type OptionSchema } from "./options.ts";

/** One line of `mica config`. */
export interface ConfigRow {
  readonly key: string;
  /** Undefined where an option without a default was not set; "(secret)" for a secret that was. */
  readonly value: unknown;
  readonly source: Source;
}

/** The effective configuration without its secrets, in the schema's order. */
export function describeConfig({ config, sources }: LoadedConfig): ConfigRow[] {
  return OPTIONS.map(({ key, schema }) => {
    const value = key.split(".").reduce<unknown>((at, name) => (at as Record<string, unknown>)[name], config);
    return { key, value: schema.secret && value !== undefined ? "(secret)" : value, source: sources.get(key) ?? "default" };
  });
}

/** docs/configuration.md. */
export function configurationDocs(): string {
  const pool = OPTIONS.find(({ key }) => key === "pools")?.schema.items;
  return [
    "<!-- Made from src/config/schema.ts by `npm run docs`: change it there. -->",
    "# Configuration",
    "",
    "Mica runs without any. What is set is read in this order, the later wins: the defaults; a file; the environment; the",
    "command line. `mica config` prints what is in force and where each value comes from. Unknown options and values out of",
    "bounds are refused at the start, all of them at once.",
    "",
    "The file is `mica.json` in the data folder, or the one named by `--config FILE` or `MICA_CONFIG`. It is JSON; lines that begin with `//`",
    "are comments; relative paths are relative to the file. A dot in an option's name is a level of the file:",
    "",
    "```json",
    "{",
    '  // quotas.volumes and tokenLifetimeMs',
    '  "quotas": { "volumes": 100 },',
    '  "tokenLifetimeMs": 7200000,',
    '  "pools": [{ "name": "fast", "path": "/srv/fast" }]',
    "}",
    "```",
    "",
    "An environment variable that begins with `MICA_` and is no option is refused if it is a letter or two off a known one, and otherwise",
    "ignored with a warning.",
    "",
    "## Options",
    "",
    ...table(["option", "environment, flag", "takes", "default", "why"], OPTIONS.map(optionRow)),
    "",
    "## Options of a pool",
    "",
    "`pools` is a list of objects with these keys, in the file (or as JSON in `MICA_POOLS`):",
    "",
    ...table(["key", "takes", "default", "why"], Object.entries(pool?.properties ?? {}).map(([name, schema]) => [`\`${name}\``, ...schemaCells(schema)])),
    "",
  ].join("\n");
}

function optionRow({ key, env, flag, schema }: Option): string[] {
  const names = [env, ...(flag ? [flag] : [])].map((name) => `\`${name}\``).join("<br>");
  return [`\`${key}\``, names, ...schemaCells(schema)];
}

function schemaCells(schema: OptionSchema): string[] {
  return [allowedWords(schema), schema.derived ?? defaultWords(schema), schema.description ?? ""];
}

function defaultWords({ default: fallback }: OptionSchema): string {
  if (fallback === undefined) return "none: it must be given";
  return `\`${Array.isArray(fallback) ? fallback.join(", ") : String(fallback)}\``;
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  return [head, head.map(() => "---"), ...rows].map((cells) => `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`);
}
