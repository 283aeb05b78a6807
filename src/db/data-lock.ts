import { DatabaseSync } from "node:sqlite";
import { AppError } from "#/domain/errors.ts";

/**
 * Takes the data folder for this process alone, until it is disposed of or the process ends, however that ends: the kernel gives
 * an SQLite file's exclusive lock back by itself. `conflict` where another process has it.
 */
export function lockDataFolder(path: string): Disposable {
  const database = new DatabaseSync(path, { timeout: 0 });
  try {
    database.exec("PRAGMA journal_mode = DELETE; BEGIN EXCLUSIVE");
  } catch (cause) {
    database.close();
    throw new AppError("conflict", `Another process serves this data folder: it holds ${path}. End it, or give another --data-dir.`, { cause });
  }
  return { [Symbol.dispose]: () => database.close() };
}
