import type { Static, TSchema } from "typebox";
import { compileValidator } from "#/api/validation.ts";

/** Checks a body against a schema that depends on the request: its microversion, or the action that it names. */
export type Parse<Schema extends TSchema> = (body: unknown) => Static<Schema>;

/** Compiles the schema once. The parser throws `bad_request` with the field that is wrong. */
export function parserOf<Schema extends TSchema>(schema: Schema): Parse<Schema> {
  const validate = compileValidator({ schema, httpPart: "body", method: "POST", url: "" });
  return (body) => {
    const result = validate(body ?? null) as { value: Static<Schema> } | { error: Error };
    if ("error" in result) throw result.error;
    return result.value;
  };
}
