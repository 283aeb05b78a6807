import type { NewLocation } from "#/app/image-locations.ts";
import { AppError } from "#/domain/errors.ts";
import type { ImageChange } from "#/domain/image-patch.ts";
import { FIELD_OF_ATTRIBUTE, requirePropertyName, requireValue, requireWritable } from "./attributes.ts";
import { parseLocation } from "./location.ts";

/** The media types of a JSON patch, with the draft of the standard that each follows. */
export const PATCH_DRAFTS = {
  "application/openstack-images-v2.0-json-patch": 4,
  "application/openstack-images-v2.1-json-patch": 10,
} as const;
export type PatchDraft = (typeof PATCH_DRAFTS)[keyof typeof PATCH_DRAFTS];
export const PATCH_MEDIA_TYPES = Object.keys(PATCH_DRAFTS);

type Operation = ImageChange["op"];
const OPERATIONS: readonly Operation[] = ["add", "remove", "replace"];

/** The draft that a Content-Type names; undefined where it is no JSON patch for images. */
export function patchDraft(contentType: string | undefined): PatchDraft | undefined {
  const mediaType = contentType?.split(";", 1)[0]?.trim().toLowerCase() ?? "";
  return Object.hasOwn(PATCH_DRAFTS, mediaType) ? PATCH_DRAFTS[mediaType as keyof typeof PATCH_DRAFTS] : undefined;
}

/** A change of where the bytes are: it stands alone in its patch, since it is no change of the record. */
export interface LocationsChange {
  readonly op: Operation;
  /** Undefined: none is left. */
  readonly location: NewLocation | undefined;
}

/** The body of `PATCH /v2/images/{id}`, with every value checked. */
export function parsePatch(body: unknown, draft: PatchDraft): ImageChange[] | LocationsChange {
  if (body === undefined) throw new AppError("bad_request", "Body expected in request.");
  if (!Array.isArray(body)) throw new AppError("bad_request", "Request body must be a JSON array of operation objects.");
  const changes = body.map((operation: unknown) => parseOperation(operation, draft));
  const [first] = changes;
  if (changes.length === 1 && first && "location" in first) return first;
  return changes.map((change) => {
    if ("location" in change) throw new AppError("bad_request", "A change of locations must be the only one of its request.");
    return change;
  });
}

function parseOperation(operation: unknown, draft: PatchDraft): ImageChange | LocationsChange {
  if (typeof operation !== "object" || operation === null || Array.isArray(operation)) {
    throw new AppError("bad_request", "Operations must be JSON objects.");
  }
  const fields = operation as Record<string, unknown>;
  const { op, pointer } = draft === 10 ? readDraft10(fields) : readDraft4(fields);
  const path = decodePointer(pointer);
  const name = path[0] ?? "";
  requireDepth(op, path);
  requireWritable(name);
  if (name === "id") throw new AppError("forbidden", "Attribute 'id' is read-only.");
  requireValueGiven(op, fields);
  if (name === "locations") return { op, location: op === "remove" ? undefined : locationIn(fields["value"]) };
  return toChange(op, name, fields["value"], draft);
}

/** The only one that a value has: `{"url": …}` or a list with one of those. */
function locationIn(value: unknown): NewLocation | undefined {
  const [location, ...others] = [value].flat();
  if (location === undefined) return undefined;
  if (others.length > 0) throw new AppError("quota_exceeded", `The limit has been exceeded on the number of allowed image locations. Attempted: ${others.length + 1}, Maximum: 1`);
  return parseLocation(location);
}

function toChange(op: Operation, name: string, value: unknown, draft: PatchDraft): ImageChange {
  const onlyNew = op === "add" && draft === 4;
  if (op !== "remove") requireValue(name, value);
  const field = Object.hasOwn(FIELD_OF_ATTRIBUTE, name) ? FIELD_OF_ATTRIBUTE[name] : undefined;
  if (field !== undefined) return op === "remove" ? { op, field } : { op, field, value, onlyNew };
  requirePropertyName(name);
  return op === "remove" ? { op, property: name } : { op, property: name, value: value as string, onlyNew };
}

/** `{"op":"add","path":"/name","value":…}`, as RFC 6902 has it. */
function readDraft10({ op, path }: Record<string, unknown>): { op: Operation; pointer: unknown } {
  if (op === undefined) throw new AppError("bad_request", `Unable to find \`op\` in JSON Schema change. ${ONE_OF}`);
  if (!OPERATIONS.includes(op as Operation)) throw new AppError("bad_request", `Invalid operation: \`${String(op)}\`. ${ONE_OF}`);
  if (path === undefined) throw new AppError("bad_request", "Unable to find 'path' in JSON Schema change");
  return { op: op as Operation, pointer: path };
}

const ONE_OF = `It must be one of the following: ${OPERATIONS.join(", ")}.`;

/** `{"add":"/name","value":…}`. */
function readDraft4(operation: Record<string, unknown>): { op: Operation; pointer: unknown } {
  const [op, ...others] = OPERATIONS.filter((name) => Object.hasOwn(operation, name));
  if (op === undefined || others.length > 0) {
    throw new AppError("bad_request", 'Operation objects must contain exactly one member named "add", "remove", or "replace".');
  }
  return { op, pointer: operation[op] };
}

/** The parts of a JSON pointer (RFC 6901), in the limited form that Glance takes. */
function decodePointer(pointer: unknown): string[] {
  if (typeof pointer !== "string") throw new AppError("bad_request", "A pointer must be a string.");
  const refuse = (because: string) => new AppError("bad_request", `Pointer \`${pointer}\` ${because}.`);
  if (!pointer.startsWith("/")) throw refuse('does not start with "/"');
  if (/\/\s*\//.test(pointer)) throw refuse('contains adjacent "/"');
  if (pointer.trimEnd().endsWith("/")) throw refuse(pointer.trim() === "/" ? "does not contain a valid token" : 'ends with "/"');
  if (/~([^01]|$)/.test(pointer)) throw refuse('contains "~" not part of a recognized escape sequence');
  return pointer
    .slice(1)
    .split("/")
    .map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~").trim());
}

function requireDepth(op: Operation, path: readonly string[]): void {
  const depth = path[0] === "locations" && op !== "replace" ? 2 : 1;
  if (path.length !== depth) throw new AppError("bad_request", `Invalid JSON pointer for this resource: '/${path.join("/")}'`);
}

function requireValueGiven(op: Operation, fields: Record<string, unknown>): void {
  if (op !== "remove" && !Object.hasOwn(fields, "value"))
    throw new AppError("bad_request", `Operation "${op}" requires a member named "value".`);
}
