import type { OptionSchema } from "./options.ts";

/** What an option takes, in words: "a whole number of bytes, at least 1", "one of file". Ends the sentence "… must be". */
export function allowedWords(schema: OptionSchema): string {
  if (schema.enum) return `one of ${schema.enum.join(", ")}`;
  if (schema.says) return schema.says;
  if (schema.type === "boolean") return "true or false";
  if (schema.type === "integer" || schema.type === "number") return numberWords(schema);
  if (schema.type === "array") return `a list of ${itemWords(schema.items)}`;
  if (schema.type === "object") return `an object with ${Object.keys(schema.properties ?? {}).join(", ")}`;
  return schema.path ? "a path" : "text that is not empty";
}

function numberWords({ type, unit, minimum, maximum, zeroIsUnlimited }: OptionSchema): string {
  const what = `a ${type === "integer" ? "whole " : ""}number${unit ? ` of ${unit}` : ""}`;
  const bounds = maximum === undefined ? `at least ${minimum}` : `from ${minimum} to ${maximum}`;
  return `${what}, ${bounds}${zeroIsUnlimited ? " (0 for no limit)" : ""}`;
}

function itemWords(items: OptionSchema | undefined): string {
  if (items?.type === "object") return "objects";
  return items?.enum ? `different ${items.enum.join(", ")}` : "values";
}
