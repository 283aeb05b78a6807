import { WORKER_FLAGS } from "#/cli/local.ts";
import { allowedWords } from "#/config/allowed.ts";
import { OPTIONS, type Option, type OptionSchema } from "#/config/options.ts";
import { markdownTable } from "./markdown-table.ts";

const INTRODUCTION = `<!-- Made from src/config/schema.ts by \`make docs\`: change it there. -->
# Configuration

Mica runs without any. What is set is read in this order, the later wins: the defaults; a file; the environment; the
command line. \`mica config\` prints what is in force and where each value comes from. Unknown options and values out of
bounds are refused at the start, all of them at once.

The file is \`mica.json\` in the data folder, or the one named by \`--config FILE\` or \`MICA_CONFIG\`. It is JSON; lines that begin
with \`//\` are comments; relative paths are relative to the file. A dot in an option's name is a level of the file:

\`\`\`
{
  // quotas.volumes and tokenLifetimeMs
  "quotas": { "volumes": 100 },
  "tokenLifetimeMs": 7200000,
  "pools": [{ "name": "fast", "path": "/srv/fast" }]
}
\`\`\`

An environment variable that begins with \`MICA_\` and is no option is refused if it is a letter or two off a known one, and
otherwise ignored with a warning: others write there too.
`;

/** docs/configuration.md. */
export function configurationDocs(): string {
  const pool = OPTIONS.find(({ key }) => key === "pools")?.schema.items;
  const properties = Object.entries(pool?.properties ?? {});
  const sections = properties.filter(([, schema]) => schema.type === "object");
  return [
    INTRODUCTION,
    "## Options",
    "",
    ...markdownTable(["option", "environment, flag", "takes", "default", "why"], OPTIONS.map(optionRow)),
    "",
    "## Options of a pool",
    "",
    "`pools` is a list of objects with these keys, in the file (or as JSON in `MICA_POOLS`):",
    "",
    ...poolTable(pool, properties.filter(([, schema]) => schema.type !== "object")),
    "",
    ...sections.flatMap(([name, schema]) => [
      `### Section \`${name}\``,
      "",
      ...poolTable(schema, Object.entries(schema.properties ?? {})),
      "",
    ]),
  ].join("\n");
}

function poolTable(of: OptionSchema | undefined, properties: readonly (readonly [string, OptionSchema])[]): string[] {
  if (properties.length === 0) return ["It has no options of its own."];
  const { required = [] } = (of ?? {}) as { required?: readonly string[] };
  const rows = properties.map(([name, schema]) => [`\`${name}\``, ...schemaCells(schema, required.includes(name))]);
  return markdownTable(["key", "takes", "default", "why"], rows);
}

function optionRow({ key, env, flag, schema }: Option): string[] {
  const names = [env, ...(flag ? [flag] : [])].map((name) => `\`${name}\``);
  const short = Object.keys(WORKER_FLAGS).find((name) => WORKER_FLAGS[name] === key && name !== flag);
  return [`\`${key}\``, [...names, ...(short ? [`\`mica worker ${short}\``] : [])].join("<br>"), ...schemaCells(schema)];
}

function schemaCells(schema: OptionSchema, isRequired = true): string[] {
  return [allowedWords(schema), schema.derived ?? defaultWords(schema.default, isRequired), schema.description ?? ""];
}

function defaultWords(fallback: unknown, isRequired: boolean): string {
  if (fallback === undefined) return isRequired ? "none: it must be given" : "none";
  return `\`${Array.isArray(fallback) ? fallback.join(", ") : JSON.stringify(fallback)}\``;
}
