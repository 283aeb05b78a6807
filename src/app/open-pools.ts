import type { Logger } from "pino";
import type { PoolConfig } from "#/config/schema.ts";
import type { Database } from "#/db/database.ts";
import { hasDisksIn, listPoolRows } from "#/db/pools.ts";
import type { PoolTable } from "#/db/tables.ts";
import { AppError } from "#/domain/errors.ts";
import { openPool } from "#/storage/open-pool.ts";
import type { Pool } from "#/storage/pool.ts";
import { Pools } from "#/storage/pools.ts";

/** How a pool is opened, while Mica starts and later; `isNew` for one that may get an empty folder. */
export type PoolOpener = (config: PoolConfig, options?: { readonly drained?: boolean }) => Promise<Pool>;

/** A folder is made only for a pool that has no disks on record. With `readOnly`, never. */
export function poolOpener({ db, log, readOnly = false }: { db: Database; log: Logger; readOnly?: boolean }): PoolOpener {
  const isNew = async (name: string) => !readOnly && !(await hasDisksIn(db, name));
  return (config, { drained = false } = {}) => openPool(config, { log, drained, isNew: () => isNew(config.name) });
}

/**
 * Opens the pools of the configuration and, after them, those that were added while Mica ran. Errors: `config_invalid` where
 * one name stands for two places; a pool that cannot be opened is down, and no error.
 */
export async function openPools(db: Database, configured: readonly PoolConfig[], open: PoolOpener): Promise<Pools> {
  const rows = await listPoolRows(db);
  const drained = new Set(rows.flatMap((row) => (row.drained === 1 ? [row.name] : [])));
  const configs = [...configured, ...addedPools(rows, configured)];
  return new Pools(await Promise.all(configs.map((config) => open(config, { drained: drained.has(config.name) }))));
}

/** The pools that were added while Mica ran. One that has since been written into the configuration counts as that, if its place is the same. */
export function addedPools(rows: readonly PoolTable[], configured: readonly PoolConfig[]): PoolConfig[] {
  return rows.flatMap((row) => {
    if (row.config === null) return [];
    const added: PoolConfig = JSON.parse(row.config);
    const namesake = configured.find(({ name }) => name === added.name);
    if (!namesake) return [added];
    if (placeOf(namesake) === placeOf(added)) return [];
    throw new AppError(
      "config_invalid",
      `Pool "${added.name}" is in the configuration (${placeOf(namesake)}), and another of that name was added with \`mica pool add\` (${placeOf(added)}). Rename the one in the configuration.`,
    );
  });
}

/** Where a pool's bytes are, as the configuration says it. */
function placeOf({ driver, path, ...sections }: PoolConfig): string {
  const section = sections[driver as keyof typeof sections];
  return [driver, path, section && JSON.stringify(section)].filter(Boolean).join(" ");
}
