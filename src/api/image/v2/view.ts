import type { Whereabouts } from "#/app/image-locations.ts";
import type { Image, ImageMember } from "#/domain/image.ts";

/** An image as the API shows it: the user's own properties stand beside the attributes. */
export function imageView(image: Image, { store, directUrl, locations }: Whereabouts = {}): Record<string, unknown> {
  const self = `/v2/images/${image.id}`;
  return {
    ...image.properties,
    id: image.id,
    name: image.name,
    status: image.status,
    visibility: image.visibility,
    owner: image.owner,
    protected: image.isProtected,
    os_hidden: image.isHidden,
    disk_format: image.diskFormat,
    container_format: image.containerFormat,
    min_disk: image.minDiskGib,
    min_ram: image.minRamMib,
    size: image.sizeBytes,
    virtual_size: image.virtualSizeBytes,
    checksum: image.checksumMd5,
    os_hash_algo: image.hashAlgorithm,
    os_hash_value: image.hashValue,
    tags: image.tags,
    created_at: timeView(image.createdAtMs),
    updated_at: timeView(image.updatedAtMs),
    self,
    file: `${self}/file`,
    schema: "/v2/schemas/image",
    ...(store !== undefined && { stores: store }),
    ...(directUrl !== undefined && { direct_url: directUrl }),
    ...(locations && { locations }),
  };
}

export interface ImagePage {
  readonly images: readonly Image[];
  readonly whereabouts: ReadonlyMap<string, Whereabouts>;
  /** What was asked for, as query parameters without a marker. */
  readonly query: URLSearchParams;
  readonly limit: number;
}

/** One page with the way to the next, where this one is full. */
export function imagesView({ images, whereabouts, query, limit }: ImagePage): Record<string, unknown> {
  const last = images.length === limit ? images.at(-1) : undefined;
  return {
    images: images.map((image) => imageView(image, whereabouts.get(image.id))),
    first: listUrl(query),
    ...(last && { next: listUrl(withMarker(query, last.id)) }),
    schema: "/v2/schemas/images",
  };
}

export function memberView(member: ImageMember): Record<string, unknown> {
  return {
    member_id: member.memberId,
    image_id: member.imageId,
    status: member.status,
    created_at: timeView(member.createdAtMs),
    updated_at: timeView(member.updatedAtMs),
    schema: "/v2/schemas/member",
  };
}

/** `2014-05-05T17:15:10Z`. */
function timeView(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19)}Z`;
}

function listUrl(query: URLSearchParams): string {
  return query.size === 0 ? "/v2/images" : `/v2/images?${query}`;
}

function withMarker(query: URLSearchParams, marker: string): URLSearchParams {
  return new URLSearchParams([...query, ["marker", marker]]);
}
