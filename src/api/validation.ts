import type { FastifySchemaCompiler } from "fastify";
import type { TSchema } from "typebox";
import { Compile, type Validator } from "typebox/compile";
import { Value } from "typebox/value";
import type { TLocalizedValidationError } from "typebox/error";
import { AppError } from "#/domain/errors.ts";

/**
 * Checks requests against their TypeBox schemas. What arrives as text (path, query, headers) is converted to the schema's
 * types first; a body must have them already. A refusal names the field: "volume.size must be integer".
 * A schema is compiled by the first request that needs it: all of them together take about a tenth of the start.
 */
export const compileValidator: FastifySchemaCompiler<TSchema> = ({ schema, httpPart }) => {
  let compiled: Validator | undefined;
  return (received: unknown) => {
    const validator = (compiled ??= Compile(schema));
    if (validator.Check(received)) return { value: received }; // Most often; to convert costs more than to check.
    const value = httpPart === "body" ? received : converted(schema, received);
    if (validator.Check(value)) return { value };
    return { error: new AppError("bad_request", validationMessage(validator.Errors(value), httpPart ?? "body")) };
  };
};

/** Text is a whole number where it is written as one: to TypeBox "1.5", "true" and "" are some too. */
function converted(schema: TSchema, received: unknown): unknown {
  const before = Object.entries(received ?? {});
  const value = Value.Convert(schema, received);
  const isWrong = ([name, text]: [string, unknown]) => Number.isInteger((value as Record<string, unknown>)[name]) && !/^[-+]?[0-9]+$/.test(String(text).trim());
  return { ...(value as object), ...Object.fromEntries(before.filter(isWrong)) };
}

/** The first of the most deeply nested complaints: inside a union it is the one about the alternative that was meant. */
export function validationMessage(errors: readonly TLocalizedValidationError[], httpPart: string): string {
  const depth = ({ instancePath }: TLocalizedValidationError) => instancePath.split("/").length;
  const telling = errors.filter(({ keyword }) => keyword !== "anyOf" && keyword !== "boolean");
  const deepest = Math.max(...telling.map(depth));
  const error = telling.find((candidate) => depth(candidate) === deepest) ?? errors[0];
  if (!error) return `The ${httpPart} is not valid.`;
  return `Invalid ${PART_NAMES[httpPart] ?? httpPart}: ${complaint(error)}.`;
}

const PART_NAMES: Readonly<Record<string, string>> = { params: "path", querystring: "query", headers: "header" };

function complaint(error: TLocalizedValidationError): string {
  const field = error.instancePath.slice(1).replaceAll("/", ".") || "it";
  return `${field} ${requirement(error)}`;
}

/** TypeBox's own words, but for those that do not say what they want. */
function requirement(error: TLocalizedValidationError): string {
  if (error.keyword === "additionalProperties") return `has unknown properties: ${error.params.additionalProperties.join(", ")}`;
  if (error.keyword === "required") return `must have: ${error.params.requiredProperties.join(", ")}`;
  if (error.keyword === "enum") return `must be one of: ${error.params.allowedValues.join(", ")}`;
  if (error.keyword === "const") return `must be ${JSON.stringify(error.params.allowedValue)}`;
  return error.message;
}
