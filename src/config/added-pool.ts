import { isAbsolute } from "node:path";
import Value from "typebox/value";
import { AppError } from "#/domain/errors.ts";
import { crossProblems, problemsOf } from "./check.ts";
import type { OptionSchema } from "./options.ts";
import { type Config, POOL_SCHEMA, type PoolConfig } from "./schema.ts";

/**
 * A pool that is to be added beside `existing` ones, as whoever adds it wrote it: with its defaults, under the rules of the
 * configuration. Errors: `bad_request`, with every problem; `conflict` where the name or folder is taken.
 */
export function readAddedPool(written: unknown, config: Config, existing: readonly PoolConfig[]): PoolConfig {
  const schema = POOL_SCHEMA as OptionSchema;
  const value = Value.Default(schema, structuredClone(written));
  refuse(problemsOf("pool", schema, value));
  refuse(relativePaths("pool", schema, value));
  const pool = value as PoolConfig;
  refuseTaken(pool, existing);
  refuse(crossProblems({ ...config, pools: [...existing, pool] }).map((problem) => problem.replace(/^pools: /, "")));
  return pool;
}

function refuseTaken({ name, path }: PoolConfig, existing: readonly PoolConfig[]): void {
  if (existing.some((other) => other.name === name)) throw new AppError("conflict", `There is a pool "${name}" already.`);
  const neighbour = path === undefined ? undefined : existing.find((other) => other.path === path);
  if (neighbour) throw new AppError("conflict", `The folder ${path} is that of pool "${neighbour.name}" already.`);
}

/** Nobody here knows where a relative path begins. */
function relativePaths(key: string, schema: OptionSchema, value: unknown): string[] {
  if (typeof value === "string") return schema.path && !isAbsolute(value) ? [`${key} is "${value}", but must be an absolute path`] : [];
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([name, child]) => relativePaths(`${key}.${name}`, schema.properties?.[name] ?? schema.items ?? {}, child));
}

function refuse(problems: readonly string[]): void {
  if (problems.length > 0) throw new AppError("bad_request", `This pool cannot be added: ${problems.join("; ")}.`);
}
