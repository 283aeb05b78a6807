import type { Static, TSchema } from "typebox";
import { AppError } from "#/domain/errors.ts";
import { compileValidator } from "./validation.ts";

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

/** The name and the argument of the one action that a body asks for. */
export function oneAction(body: unknown): [string, unknown] {
  const actions = body !== null && typeof body === "object" && !Array.isArray(body) ? Object.entries(body) : [];
  const [only, ...others] = actions;
  if (!only || others.length > 0) throw new AppError("bad_request", "The body must have one key: the name of an action.");
  return only;
}
