import type { NewImage } from "#/app/images.ts";
import { AppError } from "#/domain/errors.ts";
import type { ImageFields } from "#/domain/image.ts";
import { FIELD_OF_ATTRIBUTE, requirePropertyName, requireValue, requireWritable } from "./attributes.ts";

/** The body of `POST /v2/images`, checked in the order in which Glance does it. */
export function parseNewImage(body: unknown): NewImage {
  if (typeof body !== "object" || body === null || Array.isArray(body))
    throw new AppError("bad_request", "The body must be a JSON object.");
  const entries = Object.entries(body);
  for (const [name] of entries) requireWritable(name);
  for (const [name, value] of entries) requireValue(name, value);
  const own = entries.filter(([name]) => name !== "id" && !Object.hasOwn(FIELD_OF_ATTRIBUTE, name));
  for (const [name] of own) requireNewName(name);
  return {
    id: (body as { id?: string }).id,
    fields: Object.fromEntries(entries.flatMap(toField)) as Partial<ImageFields>,
    properties: Object.fromEntries(own) as Record<string, string>,
  };
}

function toField([name, value]: [string, unknown]): [string, unknown][] {
  const field = Object.hasOwn(FIELD_OF_ATTRIBUTE, name) ? FIELD_OF_ATTRIBUTE[name] : undefined;
  return field === undefined ? [] : [[field, value]];
}

function requireNewName(name: string): void {
  if (name === "locations") throw new AppError("forbidden", "It's not allowed to add locations if locations are invisible.");
  requirePropertyName(name);
}
