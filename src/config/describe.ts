import type { LoadedConfig } from "./load.ts";
import type { Source } from "./layers.ts";
import { OPTIONS } from "./options.ts";

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
