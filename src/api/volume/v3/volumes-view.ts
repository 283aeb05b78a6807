import type { Page } from "#/app/lists.ts";
import type { Volume } from "#/app/volumes.ts";
import { gibibytesFor } from "#/lib/units.ts";
import { hostOf } from "./hosts.ts";
import { timeView, updatedView } from "./time.ts";
import type { Viewer } from "./viewer.ts";

/** What the short list has of a volume. */
export function volumeSummaryView({ id, name }: Volume, viewer: Viewer): object {
  return { id, name, links: viewer.links("volumes", id) };
}

/** What create and update answer. */
export function volumeView(volume: Volume, viewer: Viewer): object {
  const { minor } = viewer;
  return {
    id: volume.id,
    status: volume.status,
    size: gibibytesFor(volume.size_bytes),
    availability_zone: volume.availability_zone,
    created_at: timeView(volume.created_at),
    updated_at: updatedView(volume),
    name: volume.name,
    description: volume.description,
    volume_type: volume.volumeTypeName,
    snapshot_id: volume.snapshot_id,
    source_volid: volume.source_volume_id,
    metadata: volume.metadata,
    links: viewer.links("volumes", volume.id),
    user_id: volume.user_id,
    bootable: String(volume.bootable === 1),
    encrypted: false,
    replication_status: null,
    consistencygroup_id: null,
    multiattach: volume.multiattach === 1,
    attachments: volume.attachments.filter(({ state }) => state !== "attaching").map(attachmentView),
    ...(viewer.isAdmin && { migration_status: volume.migration_status }),
    ...(minor >= 13 && { group_id: null }),
    ...(minor >= 21 && viewer.isAdmin && { provider_id: null }),
    ...(minor >= 48 && { shared_targets: false, service_uuid: null }),
    ...(minor >= 61 && viewer.isAdmin && { cluster_name: null }),
    ...(minor >= 63 && { volume_type_id: volume.volume_type_id }),
    ...(minor >= 65 && { consumes_quota: true }),
  };
}

/** Where the server runs is for Compute to say. */
function attachmentView({ id, server_id, volume_id, target, created_at }: Volume["attachments"][number]): object {
  return {
    id: volume_id,
    attachment_id: id,
    volume_id,
    server_id,
    host_name: null,
    device: `/dev/${target}`,
    attached_at: timeView(created_at),
  };
}

/** What show and the long list answer: with the attributes that Cinder's extensions add. */
export function volumeDetailView(volume: Volume, viewer: Viewer): object {
  const hasImage = Object.keys(volume.imageMetadata).length > 0;
  return {
    ...volumeView(volume, viewer),
    // Cinder keeps the flag as metadata of its own, and shows it among the user's.
    metadata: { ...volume.metadata, ...(volume.readonly === 1 && { readonly: "True" }) },
    "os-vol-tenant-attr:tenant_id": volume.project_id,
    ...(viewer.isAdmin && {
      "os-vol-host-attr:host": hostOf(volume.pool),
      "os-vol-mig-status-attr:migstat": volume.migration_status,
      "os-vol-mig-status-attr:name_id": null,
    }),
    ...(hasImage && { volume_image_metadata: volume.imageMetadata }),
  };
}

/** A page: `volumes`, `volumes_links` where there is more, and `count` where it was asked for. */
export function volumePageView(
  page: Page<Volume>,
  viewer: Viewer,
  { view, count }: { view: typeof volumeView; count?: number | undefined },
): object {
  const links = viewer.nextLinks(page.more ? page.records.at(-1)?.id : undefined);
  return {
    volumes: page.records.map((volume) => view(volume, viewer)),
    ...(links && { volumes_links: links }),
    ...(count !== undefined && { count }),
  };
}
