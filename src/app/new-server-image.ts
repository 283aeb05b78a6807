import { randomUUID } from "node:crypto";
import type { AppContext } from "#/app/context.ts";
import type { Database } from "#/db/database.ts";
import { insertImageMember } from "#/db/image-members.ts";
import { insertImage, loadImage } from "#/db/images.ts";
import type { KeyValuePairs } from "#/db/key-values.ts";
import type { BlockDeviceTable, ServerTable } from "#/db/server-tables.ts";
import type { Caller } from "#/domain/caller.ts";
import { imageId } from "#/domain/ids.ts";
import { type Image, NO_DATA, requirePropertyCount } from "#/domain/image.ts";
import { minDiskGibOf, snapshotProperties } from "#/domain/server-capture.ts";

interface Wanted {
  readonly name: string;
  readonly root: BlockDeviceTable;
  /** Properties that go over what it inherits. */
  readonly own: KeyValuePairs;
  readonly diskFormat: "raw" | "qcow2" | "vmdk" | "vdi";
}

/** An image of a server as it begins, `queued`: with what it inherits from what the server was made of, and the caller's. Not recorded yet. */
export async function newServerImage({ db, config, clock, hypervisor }: AppContext, caller: Caller, server: ServerTable, { name, root, own, diskFormat }: Wanted): Promise<Image> {
  const base = server.image_id ? await loadImage(db, server.image_id) : undefined;
  const properties: KeyValuePairs = JSON.parse(server.image_properties);
  const captured = {
    id: server.id,
    projectId: server.project_id,
    userId: server.user_id,
    imageId: server.image_id,
    properties,
    rootSizeBytes: root.size_bytes,
    architecture: properties["architecture"] ?? (await hypervisor.facts()).architecture,
  };
  const all = { ...snapshotProperties(captured, config.servers.nonInheritableImageProperties), ...own };
  requirePropertyCount(all);
  const nowMs = clock.nowMs();
  const isAmi = base?.diskFormat === "ami";
  return {
    id: imageId(randomUUID()),
    name,
    owner: caller.projectId,
    visibility: caller.projectId === server.project_id ? "private" : "shared",
    diskFormat: isAmi ? "ami" : diskFormat,
    containerFormat: isAmi ? "ami" : base?.containerFormat === "compressed" ? "bare" : (base?.containerFormat ?? "bare"),
    minDiskGib: minDiskGibOf(captured, base),
    minRamMib: base?.minRamMib ?? 0,
    isProtected: false,
    isHidden: false,
    ...NO_DATA,
    tags: [],
    status: "queued",
    diskId: null,
    createdAtMs: nowMs,
    updatedAtMs: nowMs,
    properties: all,
  };
}

/** Records it. One that somebody made of another project's server is that project's to use too. */
export async function insertServerImage(trx: Database, image: Image, server: Pick<ServerTable, "project_id">): Promise<void> {
  await insertImage(trx, image);
  if (image.visibility !== "shared") return;
  await insertImageMember(trx, { imageId: image.id, memberId: server.project_id, status: "accepted", createdAtMs: image.createdAtMs, updatedAtMs: image.createdAtMs });
}
