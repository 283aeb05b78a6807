import Value from "typebox/value";
import { parsePoolFunction } from "#/domain/pool-function.ts";
import { allowedWords } from "./allowed.ts";
import type { OptionSchema } from "./options.ts";
import type { LvmConfig } from "./pools/lvm.ts";
import type { Config, PoolConfig } from "./schema.ts";

/** What is wrong with one value, as sentences that begin with the option's key; empty where it is right. */
export function problemsOf(key: string, schema: OptionSchema, value: unknown): string[] {
  const problems = Value.Errors(schema, value).flatMap(({ keyword, instancePath, params }) => {
    const path = instancePath.split("/").slice(1);
    const at = path.reduce((name, step) => (/^\d+$/.test(step) ? `${name}[${step}]` : `${name}.${step}`), key);
    // TypeBox reports an unknown or missing property at its object, and the unknown one once more as "schema is false".
    if (keyword === "additionalProperties") return names(params, "additionalProperties").map((name) => `${at}.${name} is unknown`);
    if (keyword === "required") return names(params, "requiredProperties").map((name) => `${at}.${name} is missing`);
    if (keyword === "boolean") return [];
    const allowed = allowedWords(path.reduce(childSchema, schema));
    return [`${at} is ${shown(valueAt(value, path), schema)}, but must be ${allowed}`];
  });
  return [...new Set(problems)];
}

/** What no single option can know: names that collide, limits that cross. */
export function crossProblems({ pools, pages, internalTenantProjectId, internalTenantUserId }: Config): string[] {
  const problems = pools.flatMap(poolProblems);
  const twice = (what: string, values: readonly (string | undefined)[]) => {
    const again = values.filter((value, i) => value !== undefined && values.indexOf(value) < i);
    problems.push(...new Set(again.map((value) => `pools: two of them have the ${what} "${value}"`)));
  };
  twice("name", pools.map(({ name }) => name));
  twice("path", pools.map(({ path }) => path));
  twice("volumes of", pools.map(({ lvm }) => lvm && lvmPlace(lvm)));
  twice("pool of a worker", pools.map(({ worker }) => worker && `${worker.url.replace(/\/$/, "")} ${worker.pool}`));
  for (const role of ["images", "volumes"] as const) {
    if (!pools.some(({ roles }) => roles.includes(role))) problems.push(`pools: none of them has the role "${role}"`);
  }
  if (internalTenantProjectId === undefined || internalTenantUserId === undefined) {
    for (const { name, imageUploadUseInternalTenant } of pools) {
      if (imageUploadUseInternalTenant) problems.push(`pools: "${name}" has imageUploadUseInternalTenant, which needs internalTenantProjectId and internalTenantUserId`);
    }
  }
  if (pages.defaultLimit > pages.maxLimit)
    problems.push(`pages.defaultLimit is ${pages.defaultLimit}, but must be at most pages.maxLimit, ${pages.maxLimit}`);
  return problems;
}

/** Where a pool keeps logical volumes: each pool would take those of another one in its place for strays. */
function lvmPlace({ volumeGroup, type, thinPool = `${volumeGroup}-pool` }: LvmConfig): string {
  return type === "thick" ? volumeGroup : `${volumeGroup}/${thinPool}`;
}

/** What a pool needs, and cannot have, because of its driver. */
function poolProblems({ name, driver, path, roles, filterFunction, goodnessFunction, ...sections }: PoolConfig): string[] {
  const problems: string[] = [];
  const inFolder = driver === "file" || driver === "nfs";
  if (inFolder && path === undefined) problems.push(`pools: "${name}" has driver "${driver}" and needs a path`);
  if (!inFolder && path !== undefined) problems.push(`pools: "${name}" has driver "${driver}", which has no path`);
  for (const other of ["lvm", "rbd", "s3", "http", "worker"] as const) {
    if (driver === other && !sections[other]) problems.push(`pools: "${name}" has driver "${driver}" and needs a section "${driver}"`);
  }
  for (const other of ["nfs", "lvm", "rbd", "s3", "http", "worker"] as const) {
    if (driver !== other && sections[other]) problems.push(`pools: "${name}" has driver "${driver}", but a section "${other}"`);
  }
  for (const [key, text] of Object.entries({ filterFunction, goodnessFunction })) {
    const wrong = text === undefined ? undefined : whyNoFunction(text);
    if (wrong) problems.push(`pools: "${name}" has a ${key} that cannot be used: ${wrong}`);
  }
  if (sections.cacheCleanUntilPercentage < sections.cacheCleanBelowPercentage)
    problems.push(`pools: "${name}" has cacheCleanUntilPercentage ${sections.cacheCleanUntilPercentage}, but it must be at least cacheCleanBelowPercentage, ${sections.cacheCleanBelowPercentage}`);
  const isReadMostly = driver === "s3" || driver === "http";
  if (isReadMostly && roles.some((role) => role !== "images")) problems.push(`pools: "${name}" has driver "${driver}", which can only have roles ["images"]`);
  return problems;
}

function whyNoFunction(text: string): string | undefined {
  try {
    parsePoolFunction(text);
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}

function names(params: object, property: string): string[] {
  return (params as Record<string, string[]>)[property] ?? [];
}

function childSchema(schema: OptionSchema, step: string): OptionSchema {
  return schema.items ?? schema.properties?.[step] ?? schema;
}

function valueAt(value: unknown, path: readonly string[]): unknown {
  return path.reduce<unknown>((at, step) => (at as Record<string, unknown>)[step], value);
}

function shown(value: unknown, { secret }: OptionSchema): string {
  return secret ? "(secret)" : JSON.stringify(value);
}
