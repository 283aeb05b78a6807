import type { Page } from "#/app/lists.ts";
import type { Snapshot } from "#/app/snapshots.ts";
import { gibibytesFor } from "#/lib/units.ts";
import { timeView, updatedView } from "./time.ts";
import type { Viewer } from "./viewer.ts";

/** What the short list, create and update answer. */
export function snapshotView(snapshot: Snapshot, { minor }: Viewer): object {
  return {
    id: snapshot.id,
    name: snapshot.name,
    description: snapshot.description,
    volume_id: snapshot.volume_id,
    status: snapshot.status,
    size: gibibytesFor(snapshot.size_bytes),
    created_at: timeView(snapshot.created_at),
    updated_at: updatedView(snapshot),
    metadata: snapshot.metadata,
    ...(minor >= 14 && { group_snapshot_id: null }),
    ...(minor >= 41 && { user_id: snapshot.user_id }),
    ...(minor >= 65 && { consumes_quota: true }),
  };
}

/** What show and the long list answer. */
export function snapshotDetailView(snapshot: Snapshot, viewer: Viewer): object {
  return {
    ...snapshotView(snapshot, viewer),
    "os-extended-snapshot-attributes:progress": snapshot.status === "available" ? "100%" : "0%",
    "os-extended-snapshot-attributes:project_id": snapshot.project_id,
  };
}

export function snapshotPageView(
  page: Page<Snapshot>,
  viewer: Viewer,
  { view, count }: { view: typeof snapshotView; count?: number | undefined },
): object {
  const links = viewer.nextLinks(page.more ? page.records.at(-1)?.id : undefined);
  return {
    snapshots: page.records.map((snapshot) => view(snapshot, viewer)),
    ...(links && { snapshots_links: links }),
    ...(count !== undefined && { count }),
  };
}
