import type { Page } from "#/app/lists.ts";
import type { VolumeType } from "#/app/volume-types.ts";
import type { VolumeTypeTable } from "#/db/tables.ts";
import type { Viewer } from "./viewer.ts";

/** A type without its extra specs, as in what belongs to a volume. */
export function volumeTypeView({ id, name, description, is_public }: VolumeTypeTable, viewer: Viewer): object {
  const isPublic = is_public === 1;
  return {
    id,
    name,
    description,
    is_public: isPublic,
    "os-volume-type-access:is_public": isPublic,
    ...(viewer.isAdmin && { qos_specs_id: null }),
  };
}

export function volumeTypeDetailView(type: VolumeType, viewer: Viewer): object {
  return { ...volumeTypeView(type, viewer), extra_specs: type.extraSpecs };
}

export function volumeTypePageView(page: Page<VolumeType>, viewer: Viewer): object {
  const links = viewer.nextLinks(page.more ? page.records.at(-1)?.id : undefined);
  return { volume_types: page.records.map((type) => volumeTypeDetailView(type, viewer)), ...(links && { volume_type_links: links }) };
}
