import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import Value from "typebox/value";
import { AppError } from "#/domain/errors.ts";
import { crossProblems, problemsOf } from "./check.ts";
import { environmentLayer, fileLayer, flagLayer, SOURCES, type Layer, type Setting, type Source } from "./layers.ts";
import { OPTIONS, type Option, type OptionSchema } from "./options.ts";
import { POOL_SCHEMA, type Config } from "./schema.ts";

/** What the configuration is made of. What is left out is taken from this process. */
export interface ConfigInput {
  /** Text by option key, as in `{ "dataDir": "/srv/mica" }`, and `config` for the file. */
  readonly flags?: Readonly<Record<string, string | undefined>>;
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly cwd?: string;
  /** The file's text, or undefined where there is none. */
  readonly readFile?: (path: string) => string | undefined;
}

export interface LoadedConfig {
  readonly config: Config;
  /** Where each option's value comes from, by key. */
  readonly sources: ReadonlyMap<string, Source>;
  /** The file that was read. */
  readonly file: string | undefined;
  /** For the log: what was ignored. */
  readonly warnings: readonly string[];
}

/**
 * The effective configuration: flags win over the environment, that over the file, that over the defaults.
 * Throws `config_invalid`, whose message has a line for everything that is wrong: the option, where it was written, what is allowed.
 */
export function loadConfig({ flags = {}, env = process.env, cwd = process.cwd(), readFile = readIfThere }: ConfigInput = {}): LoadedConfig {
  const above = [environmentLayer(env, cwd), flagLayer(flags, cwd)];
  const dataDir = dataDirOf(above, env);
  const asked = flags.config ?? env.MICA_CONFIG;
  const { path, layer } = readLayer(asked ? resolve(cwd, asked) : undefined, dataDir, readFile);
  const layers = layer ? [layer, ...above] : above;
  const settings = layers.flatMap((layer) => layer.settings);
  refuse([...layers.flatMap((layer) => layer.problems), ...settings.flatMap(settingProblems)]);
  const chosen = new Map(
    SOURCES.flatMap((source) => settings.filter((setting) => setting.source === source)).map((setting) => [setting.option, setting]),
  );
  const config = build(chosen, env);
  refuse(crossProblems(config));
  return {
    config,
    sources: new Map(OPTIONS.map((option) => [option.key, chosen.get(option)?.source ?? "default"])),
    file: layer ? path : undefined,
    warnings: layers.flatMap((layer) => layer.warnings),
  };
}

/** The data folder as far as it is known before the file is read, since the file may lie in it. */
function dataDirOf(layers: readonly Layer[], env: Readonly<Record<string, string | undefined>>): string {
  const said = layers.flatMap(({ settings }) => settings).findLast(({ option }) => option.key === "dataDir");
  return typeof said?.value === "string" ? resolve(said.base, said.value) : defaultDataDir(env);
}

function defaultDataDir(env: Readonly<Record<string, string | undefined>>): string {
  return join(env.XDG_DATA_HOME || join(env.HOME || homedir(), ".local", "share"), "mica");
}

function readLayer(asked: string | undefined, dataDir: string, readFile: (path: string) => string | undefined) {
  const path = asked ?? join(dataDir, "mica.json");
  const text = readFile(path);
  if (text === undefined && asked) refuse([`the configuration ${asked} does not exist`]);
  const layer = text === undefined ? undefined : fileLayer(path, text);
  const moved = asked ? undefined : layer?.settings.find(({ option }) => option.key === "dataDir");
  if (moved) refuse([`dataDir in ${path} cannot move the folder that the file lies in: use --data-dir, MICA_DATA_DIR, or --config`]);
  return { path, layer };
}

function settingProblems({ option, value, where }: Setting): string[] {
  return problemsOf(option.key, option.schema, withDefaults(option.schema, value)).map((problem) => `${problem} (${where})`);
}

function build(chosen: ReadonlyMap<Option, Setting>, env: Readonly<Record<string, string | undefined>>): Config {
  const values: Record<string, unknown> = {};
  for (const option of OPTIONS) {
    const setting = chosen.get(option);
    const value = setting ? absolute(option.schema, withDefaults(option.schema, setting.value), setting.base) : option.schema.default;
    if (value !== undefined) place(values, option.key.split("."), value);
  }
  values.dataDir ??= defaultDataDir(env);
  return derive(values as Underived);
}

/** The configuration before the defaults that depend on other options. */
type Underived = Omit<Config, "staging" | "servers" | "worker" | "pools"> & {
  readonly staging: Omit<Config["staging"], "dir"> & { readonly dir?: string };
  readonly servers: Omit<Config["servers"], "dir"> & { readonly dir?: string };
  readonly worker: Omit<Config["worker"], "tlsDir"> & { readonly tlsDir?: string };
  readonly pools?: Config["pools"];
};

function derive(config: Underived): Config {
  const staging = { dir: join(config.dataDir, "staging"), ...config.staging };
  const servers = { dir: join(config.dataDir, "servers"), ...config.servers };
  const worker = { tlsDir: join(config.dataDir, "tls"), ...config.worker };
  const local = { name: "local", path: join(config.dataDir, "pools", "local") };
  return { ...config, staging, servers, worker, pools: config.pools ?? [Value.Default(POOL_SCHEMA, local) as Config["pools"][number]] };
}

/** Optional keys of a pool get their defaults. */
function withDefaults(schema: OptionSchema, value: unknown): unknown {
  return schema.type === "array" ? Value.Default(schema, structuredClone(value)) : value;
}

/** The value with every path in it made absolute. */
function absolute(schema: OptionSchema, value: unknown, base: string): unknown {
  if (schema.path) return resolve(base, value as string);
  if (schema.type === "array") return (value as unknown[]).map((item) => absolute(schema.items as OptionSchema, item, base));
  if (schema.type !== "object") return value;
  const entries = Object.entries(value as object).map(([name, child]) => [
    name,
    absolute(schema.properties?.[name] as OptionSchema, child, base),
  ]);
  return Object.fromEntries(entries);
}

function place(target: Record<string, unknown>, [name = "", ...rest]: readonly string[], value: unknown): void {
  if (rest.length === 0) target[name] = value;
  else place((target[name] ??= {}) as Record<string, unknown>, rest, value);
}

function refuse(problems: readonly string[]): void {
  if (problems.length > 0)
    throw new AppError("config_invalid", `Cannot use this configuration:\n${problems.map((problem) => `- ${problem}`).join("\n")}`);
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw new AppError("config_invalid", `Cannot read the configuration ${path}: ${(cause as Error).message}`, { cause });
  }
}
