import { homedir } from "node:os";
import { join } from "node:path";

/** A folder for what takes long to make, and is the same for every run. */
export function userCache(name: string): string {
  return join(process.env["XDG_CACHE_HOME"] || join(homedir(), ".cache"), name);
}
