import { Compile } from "typebox/compile";
import Type from "typebox";
import { validationMessage } from "#/api/validation.ts";
import { AppError } from "#/domain/errors.ts";
import { CONTAINER_FORMATS, IMAGE_DISK_FORMATS, IMAGE_STATUSES, type ImageFields, MEMBER_STATUSES, VISIBILITIES } from "#/domain/image.ts";

/**
 * What an image consists of, in JSON Schema: the values that are taken, and what `/v2/schemas/image` shows.
 * glance/api/v2/images.py `get_base_properties`.
 */
type JsonSchema = Readonly<Record<string, unknown>>;

const UUID = "^([0-9a-fA-F]){8}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){12}$";
const INT32_MAX = 2 ** 31 - 1;

/** What a user may set. */
const WRITABLE_ATTRIBUTES: Readonly<Record<string, JsonSchema>> = {
  name: { type: ["null", "string"], description: "Descriptive name for the image", maxLength: 255 },
  visibility: { type: "string", description: "Scope of image accessibility", enum: [...VISIBILITIES] },
  protected: { type: "boolean", description: "If true, image will not be deletable." },
  os_hidden: { type: "boolean", description: "If true, image will not appear in default image list response." },
  owner: { type: ["null", "string"], description: "Owner of the image", maxLength: 255 },
  container_format: { type: ["null", "string"], description: "Format of the container", enum: [null, ...CONTAINER_FORMATS] },
  disk_format: { type: ["null", "string"], description: "Format of the disk", enum: [null, ...IMAGE_DISK_FORMATS] },
  tags: { type: "array", description: "List of strings related to the image", items: { type: "string", maxLength: 255 } },
  min_ram: { type: "integer", description: "Amount of ram (in MB) required to boot image.", minimum: 0, maximum: INT32_MAX },
  min_disk: { type: "integer", description: "Amount of disk space (in GB) required to boot image.", minimum: 0, maximum: INT32_MAX },
};

const ID: JsonSchema = { type: "string", description: "An identifier for the image", pattern: UUID };

/** What only Mica sets. */
const READ_ONLY_ATTRIBUTES: Readonly<Record<string, JsonSchema>> = {
  status: { type: "string", readOnly: true, description: "Status of the image", enum: [...IMAGE_STATUSES] },
  checksum: { type: ["null", "string"], readOnly: true, description: "md5 hash of image contents.", maxLength: 32 },
  os_hash_algo: { type: ["null", "string"], readOnly: true, description: "Algorithm to calculate the os_hash_value", maxLength: 64 },
  os_hash_value: { type: ["null", "string"], readOnly: true, description: "Hexdigest of the image contents", maxLength: 128 },
  size: { type: ["null", "integer"], readOnly: true, description: "Size of image file in bytes" },
  virtual_size: { type: ["null", "integer"], readOnly: true, description: "Virtual size of image in bytes" },
  created_at: { type: "string", readOnly: true, description: "Date and time of image registration" },
  updated_at: { type: "string", readOnly: true, description: "Date and time of the last image modification" },
  direct_url: { type: "string", readOnly: true, description: "URL to access the image file kept in external store" },
  self: { type: "string", readOnly: true, description: "An image self url" },
  file: { type: "string", readOnly: true, description: "An image file url" },
  schema: { type: "string", readOnly: true, description: "An image schema url" },
};

/** Properties that are free by name, but have a meaning for others: etc/schema-image.json. */
const KNOWN_PROPERTIES: Readonly<Record<string, JsonSchema>> = {
  kernel_id: {
    type: "string",
    pattern: UUID,
    is_base: false,
    description: "ID of image stored in Glance that should be used as the kernel when booting an AMI-style image.",
  },
  ramdisk_id: {
    type: "string",
    pattern: UUID,
    is_base: false,
    description: "ID of image stored in Glance that should be used as the ramdisk when booting an AMI-style image.",
  },
  instance_uuid: {
    type: "string",
    is_base: false,
    description: "Metadata which can be used to record which instance this image is associated with.",
  },
  architecture: { type: "string", is_base: false, description: "Operating system architecture" },
  os_distro: { type: "string", is_base: false, description: "Common name of operating system distribution" },
  os_version: { type: "string", is_base: false, description: "Operating system version as specified by the distributor." },
};

export const IMAGE_SCHEMA = {
  name: "image",
  properties: { id: ID, ...WRITABLE_ATTRIBUTES, ...READ_ONLY_ATTRIBUTES, ...KNOWN_PROPERTIES },
  additionalProperties: { type: "string" },
  links: [
    { href: "{self}", rel: "self" },
    { href: "{file}", rel: "enclosure" },
    { href: "{schema}", rel: "describedby" },
  ],
} as const;

export const MEMBER_SCHEMA = {
  name: "member",
  properties: {
    member_id: { type: "string", description: "An identifier for the image member (tenantId)" },
    image_id: { type: "string", description: "An identifier for the image", pattern: UUID },
    created_at: { type: "string", description: "Date and time of image member creation" },
    updated_at: { type: "string", description: "Date and time of last modification of image member" },
    status: { type: "string", description: "The status of this image member", enum: [...MEMBER_STATUSES] },
    schema: { type: "string" },
  },
} as const;

/** The fields of our records by the attributes of the API. */
export const FIELD_OF_ATTRIBUTE: Readonly<Record<string, keyof ImageFields>> = {
  name: "name",
  visibility: "visibility",
  protected: "isProtected",
  os_hidden: "isHidden",
  owner: "owner",
  container_format: "containerFormat",
  disk_format: "diskFormat",
  tags: "tags",
  min_ram: "minRamMib",
  min_disk: "minDiskGib",
};

const CHECKED: ReadonlyMap<string, JsonSchema> = new Map(Object.entries({ id: ID, ...WRITABLE_ATTRIBUTES, ...KNOWN_PROPERTIES }));
const VALIDATORS = new Map([...CHECKED].map(([name, schema]) => [name, compileValue(schema)]));
const PROPERTY_VALIDATOR = compileValue({ type: "string" });

/** Throws `bad_request` where the attribute or property `name` cannot have the value. */
export function requireValue(name: string, value: unknown): void {
  requireUnicode([value].flat());
  const validator = VALIDATORS.get(name) ?? PROPERTY_VALIDATOR;
  if (!validator.Check({ value })) {
    const because = validationMessage(validator.Errors({ value }), "image").replace(" value ", ` ${name} `).replace(" value.", ` ${name}.`);
    throw new AppError("bad_request", because);
  }
}

/** Half a surrogate pair is no character: it could not be kept as it was sent. */
function requireUnicode(values: readonly unknown[]): void {
  if (values.every((value) => typeof value !== "string" || value.isWellFormed())) return;
  throw new AppError("bad_request", "The text is not valid Unicode: it has half of a surrogate pair.");
}

/** What a property may not be named, beside the attributes: glance/api/v2/images.py `_reserved_properties`, `_reserved_namespaces`. */
const RESERVED_NAMES: ReadonlySet<string> = new Set(["location", "deleted", "deleted_at"]);
const RESERVED_PREFIX = "os_glance";
const NAME_LENGTH_MAX = 255;

/** Throws `forbidden` for names that users may not use, `bad_request` for such as cannot be kept. */
export function requirePropertyName(name: string): void {
  requireUnicode([name]);
  if (name === "" || name.length > NAME_LENGTH_MAX)
    throw new AppError("bad_request", "Custom property should have a name of 1 to 255 characters.");
  if (RESERVED_NAMES.has(name) || name.startsWith(RESERVED_PREFIX)) throw new AppError("forbidden", `Attribute '${name}' is reserved.`);
}

/** Throws `forbidden` for attributes that only Mica sets. `stores` is one where there are several stores. */
export function requireWritable(name: string): void {
  if (Object.hasOwn(READ_ONLY_ATTRIBUTES, name) || name === "stores") throw new AppError("forbidden", `Attribute '${name}' is read-only.`);
}

/** Throws `forbidden` or `bad_request` where the property `name` is an attribute of images, reserved, or cannot have the value. */
export function requireFreeProperty(name: string, value: string): void {
  requireWritable(name);
  if (name === "id" || name === "locations" || Object.hasOwn(WRITABLE_ATTRIBUTES, name)) throw new AppError("bad_request", `'${name}' is an attribute of images, and no property.`);
  requirePropertyName(name);
  requireValue(name, value);
}

function compileValue(schema: JsonSchema) {
  return Compile(Type.Object({ value: Type.Unsafe<unknown>(schema) }));
}
