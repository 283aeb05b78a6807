import { type Caller, isAdmin } from "./caller.ts";
import { AppError } from "./errors.ts";
import { type Image, type ImageFields, requirePropertyCount, requireTagCount } from "./image.ts";
import { requireVisibility } from "./image-access.ts";

/** One operation of a JSON patch, its value checked already. */
export type ImageChange = SetField | RemoveField | PropertyChange;

export interface SetField {
  readonly op: "add" | "replace";
  readonly field: keyof ImageFields;
  readonly value: unknown;
  /** An `add` that must not overwrite: the older draft of JSON patch. */
  readonly onlyNew?: boolean;
}

interface RemoveField {
  readonly op: "remove";
  readonly field: keyof ImageFields;
}

export type PropertyChange =
  | { readonly op: "add" | "replace"; readonly property: string; readonly value: string; readonly onlyNew?: boolean }
  | { readonly op: "remove"; readonly property: string };

/**
 * The image after all changes, in order; nothing is kept where one of them is refused.
 * Throws `forbidden`, `conflict` or `quota_exceeded`: the rules of glance/api/v2/images.py `_do_add`, `_do_replace`, `_do_remove`.
 */
export function applyChanges(image: Image, changes: readonly ImageChange[], caller: Caller): Image {
  const changed = changes.reduce((before, change) => applyChange(before, change, caller), image);
  if (changed.tags !== image.tags) requireTagCount(changed.tags);
  if (changed.properties !== image.properties) requirePropertyCount(changed.properties);
  return changed;
}

function applyChange(image: Image, change: ImageChange, caller: Caller): Image {
  if ("property" in change) return { ...image, properties: changeProperty(image.properties, change) };
  if (change.op === "remove") throw new AppError("forbidden", `Property ${change.field} may not be removed.`);
  if (change.onlyNew) throw new AppError("conflict", `Property ${change.field} already present.`);
  return setField(image, change, caller);
}

function setField(image: Image, { field, value }: SetField, caller: Caller): Image {
  const changed = { ...image, [field]: value } as Image;
  switch (field) {
    case "owner":
      if (!isAdmin(caller)) throw new AppError("forbidden", "Owner can't be updated by non admin.");
      return changed;
    case "visibility":
      if (changed.visibility !== image.visibility) requireVisibility(caller, changed.visibility);
      return changed;
    case "diskFormat":
    case "containerFormat":
      requireChangeableFormat(image, field, value);
      return changed;
    case "tags":
      return { ...changed, tags: [...new Set(changed.tags)] };
    default:
      return changed;
  }
}

/** Bytes that were inspected as one format must never be served as another (the hole class of CVE-2015-5251). */
function requireChangeableFormat(image: Image, field: "diskFormat" | "containerFormat", value: unknown): void {
  if (image[field] === value || image.status === "queued" || image.status === "importing") return;
  const attribute = field === "diskFormat" ? "disk_format" : "container_format";
  throw new AppError("forbidden", `Attribute ${attribute} can be only replaced for a queued image.`);
}

function changeProperty(properties: Image["properties"], change: PropertyChange): Image["properties"] {
  const { op, property } = change;
  const isThere = Object.hasOwn(properties, property);
  if (op === "add" && change.onlyNew && isThere) throw new AppError("conflict", `Property ${property} already present.`);
  if (op !== "add" && !isThere) throw new AppError("conflict", `Property ${property} does not exist.`);
  const { [property]: _, ...others } = properties;
  return op === "remove" ? others : { ...others, [property]: change.value };
}
