import type { DiskFormat } from "./disk.ts";
import { AppError } from "./errors.ts";
import type { DiskId, ImageId } from "./ids.ts";

/** An image with everything that belongs to its record; its bytes are in the disk. */
export interface Image extends ImageFields, ImageDataFacts {
  readonly id: ImageId;
  readonly status: ImageStatus;
  /** The disk that holds its bytes; null while there are none. */
  readonly diskId: DiskId | null;
  readonly createdAtMs: number;
  readonly updatedAtMs: number;
  /** The user's own key–value pairs. */
  readonly properties: Readonly<Record<string, string>>;
}

/** What a user may set. */
export interface ImageFields {
  readonly name: string | null;
  /** The project that it belongs to. */
  readonly owner: string | null;
  readonly visibility: Visibility;
  readonly diskFormat: ImageDiskFormat | null;
  readonly containerFormat: ContainerFormat | null;
  readonly minDiskGib: number;
  readonly minRamMib: number;
  readonly isProtected: boolean;
  readonly isHidden: boolean;
  readonly tags: readonly string[];
}

/** What is known once the bytes are there; null before. */
export interface ImageDataFacts {
  readonly sizeBytes: number | null;
  /** What a guest would see. */
  readonly virtualSizeBytes: number | null;
  /** Lower-case hexadecimal, as all hashes. */
  readonly checksumMd5: string | null;
  readonly hashAlgorithm: string | null;
  readonly hashValue: string | null;
}

export const NO_DATA: ImageDataFacts = { sizeBytes: null, virtualSizeBytes: null, checksumMd5: null, hashAlgorithm: null, hashValue: null };

/** public: everybody's list; community: everybody by id; shared: its members; private: its project. */
export const VISIBILITIES = ["public", "private", "shared", "community"] as const;
export type Visibility = (typeof VISIBILITIES)[number];

/** Glance's `[image_format] disk_formats`. */
export const IMAGE_DISK_FORMATS = ["ami", "ari", "aki", "vhd", "vhdx", "vmdk", "raw", "qcow2", "vdi", "iso", "ploop"] as const;
export type ImageDiskFormat = (typeof IMAGE_DISK_FORMATS)[number];

/** Glance's `[image_format] container_formats`. */
export const CONTAINER_FORMATS = ["ami", "ari", "aki", "bare", "ovf", "ova", "docker", "compressed"] as const;
export type ContainerFormat = (typeof CONTAINER_FORMATS)[number];

/** What other projects make of an image that is shared with them. */
export const MEMBER_STATUSES = ["pending", "accepted", "rejected"] as const;
export type MemberStatus = (typeof MEMBER_STATUSES)[number];

export interface ImageMember {
  readonly imageId: ImageId;
  /** The project that it is shared with. */
  readonly memberId: string;
  readonly status: MemberStatus;
  readonly createdAtMs: number;
  readonly updatedAtMs: number;
}

/** Glance's `image_tag_quota`, `image_property_quota` and `image_member_quota`. */
const TAGS_MAX = 128;
const PROPERTIES_MAX = 128;
const MEMBERS_MAX = 128;

/** Where each status may lead; glance/domain/__init__.py `valid_state_targets`. */
const NEXT_STATUSES = {
  queued: ["saving", "uploading", "importing", "active", "deleted"],
  saving: ["active", "queued", "killed", "deleted"],
  uploading: ["importing", "queued", "deleted"],
  importing: ["active", "queued", "deleted"],
  active: ["deactivated", "pending_delete", "deleted"],
  deactivated: ["active", "deleted"],
  pending_delete: ["deleted", "active"],
  killed: ["deleted"],
  deleted: [],
} as const satisfies Record<string, readonly string[]>;
export type ImageStatus = keyof typeof NEXT_STATUSES;
export const IMAGE_STATUSES = Object.keys(NEXT_STATUSES) as readonly ImageStatus[];

export function mayBecome(from: ImageStatus, to: ImageStatus): boolean {
  return (NEXT_STATUSES[from] as readonly ImageStatus[]).includes(to);
}

/** Throws `conflict` where the status does not lead to `to`. */
export function requireTransition({ id, status }: Pick<Image, "id" | "status">, to: ImageStatus): void {
  if (!mayBecome(status, to)) throw new AppError("conflict", `Image ${id} is ${status}: it cannot become ${to}.`);
}

/** Throws `bad_request` where an image may not get bytes yet, since it does not say what they will be. */
export function requireFormats({ diskFormat, containerFormat }: Pick<Image, "diskFormat" | "containerFormat">): void {
  const missing = [...(diskFormat ? [] : ["disk_format"]), ...(containerFormat ? [] : ["container_format"])];
  if (missing.length > 0) throw new AppError("bad_request", `Properties ${missing.join(", ")} must be set prior to saving data.`);
}

/** The content that an image's bytes must have: what the inspector checks, and what tools are told. */
export function contentFormat(diskFormat: ImageDiskFormat, containerFormat: ContainerFormat): DiskFormat {
  if (OPAQUE_CONTAINERS.has(containerFormat)) return "opaque";
  switch (diskFormat) {
    case "ami":
    case "ari":
    case "aki":
      return "raw"; // A file system, ram disk or kernel without any wrapping.
    case "ploop":
      return "opaque";
    default:
      return diskFormat;
  }
}

/** The format of the disk that a compressed image has in its stream; undefined for every other image, and where nobody can know it. */
export function packedFormat(diskFormat: ImageDiskFormat, containerFormat: ContainerFormat): DiskFormat | undefined {
  const inner = contentFormat(diskFormat, "bare");
  return containerFormat === "compressed" && inner !== "opaque" ? inner : undefined;
}

/** The disk is inside of something else: an archive, a container's layers, a compressed stream. */
const OPAQUE_CONTAINERS: ReadonlySet<ContainerFormat> = new Set(["ovf", "ova", "docker", "compressed"]);

export function requireTagCount(tags: readonly string[]): void {
  requireCount(tags.length, TAGS_MAX, "image tags");
}

export function requirePropertyCount(properties: Image["properties"]): void {
  requireCount(Object.keys(properties).length, PROPERTIES_MAX, "image properties");
}

export function requireMemberCount(count: number): void {
  requireCount(count, MEMBERS_MAX, "image members");
}

function requireCount(count: number, max: number, what: string): void {
  if (count > max) {
    throw new AppError(
      "quota_exceeded",
      `The limit has been exceeded on the number of allowed ${what}. Attempted: ${count}, Maximum: ${max}`,
    );
  }
}
