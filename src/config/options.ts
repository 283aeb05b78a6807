import type { TSchema } from "typebox";
import type { OptionNotes } from "./option-types.ts";
import { CONFIG_SCHEMA } from "./schema.ts";

/** A JSON Schema with what our options say about themselves. */
export type OptionSchema = TSchema &
  Partial<OptionNotes> & {
    readonly type?: string;
    readonly default?: unknown;
    readonly enum?: readonly unknown[];
    readonly minimum?: number;
    readonly maximum?: number;
    readonly says?: string;
    readonly properties?: Readonly<Record<string, OptionSchema>>;
    readonly items?: OptionSchema;
  };

/** One option, by its names. */
export interface Option {
  /** `quotas.volumes`: as in messages and docs, and, by its dots, in the file. */
  readonly key: string;
  /** `MICA_QUOTAS_VOLUMES`. */
  readonly env: string;
  /** `--quotas-volumes`; undefined for secrets and lists of objects. */
  readonly flag: string | undefined;
  readonly schema: OptionSchema;
}

/** All options, flat, in the order of the schema. */
export const OPTIONS: readonly Option[] = leaves(CONFIG_SCHEMA as OptionSchema, []);

function leaves(schema: OptionSchema, path: readonly string[]): Option[] {
  if (schema.type !== "object") return [optionAt(path, schema)];
  return Object.entries(schema.properties ?? {}).flatMap(([name, child]) => leaves(child, [...path, name]));
}

function optionAt(path: readonly string[], schema: OptionSchema): Option {
  const words = path.flatMap((name) => name.split(/(?=[A-Z])/)).map((word) => word.toLowerCase());
  const hasFlag = !schema.secret && schema.type !== "array";
  return {
    key: path.join("."),
    env: `MICA_${words.join("_").toUpperCase()}`,
    flag: hasFlag ? `--${words.join("-")}` : undefined,
    schema,
  };
}
