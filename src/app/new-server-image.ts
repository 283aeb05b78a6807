import { randomUUID } from "node:crypto";
import type { AppContext } from "#/app/context.ts";
import { baseForm } from "#/app/server-image-form.ts";
import type { Database } from "#/db/database.ts";
import { insertImageMember } from "#/db/image-members.ts";
import { insertImage } from "#/db/images.ts";
import type { KeyValuePairs } from "#/db/key-values.ts";
import type { BlockDeviceTable, ServerTable } from "#/db/server-tables.ts";
import type { Caller } from "#/domain/caller.ts";
import { AppError, asAppError } from "#/domain/errors.ts";
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

/** An image of a server as it begins: with what it inherits from what the server was made of, and the caller's. Not recorded yet. `forbidden` beyond the quota of properties. `saving`, so that nobody else gives it bytes, or other formats, while the server waits for its turn. */
export async function newServerImage({ config, clock, hypervisor }: AppContext, caller: Caller, server: ServerTable, { name, root, own, diskFormat }: Wanted): Promise<Image> {
  const base = baseForm(server);
  const properties: KeyValuePairs = JSON.parse(server.image_properties);
  const captured = {
    id: server.id,
    projectId: server.project_id,
    userId: caller.userId,
    imageId: server.image_id,
    properties,
    rootSizeBytes: root.size_bytes,
    architecture: properties["architecture"] ?? (await hypervisor.facts()).architecture,
  };
  const all = { ...snapshotProperties(captured, config.servers.nonInheritableImageProperties), ...own };
  refuseTooMany(all);
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
    status: "saving",
    diskId: null,
    createdAtMs: nowMs,
    updatedAtMs: nowMs,
    properties: all,
  };
}

function refuseTooMany(properties: KeyValuePairs): void {
  try {
    requirePropertyCount(properties);
  } catch (error) {
    throw asForbidden(error);
  }
}

/** Nova has no 413: beyond a quota of volumes or of images is forbidden too. */
export function asForbidden(error: unknown): unknown {
  return asAppError(error)?.code === "quota_exceeded" ? new AppError("forbidden", (error as Error).message, { cause: error }) : error;
}

/** Records it. One that somebody made of another project's server is that project's to use too. */
export async function insertServerImage(trx: Database, image: Image, server: Pick<ServerTable, "project_id">): Promise<void> {
  await insertImage(trx, image);
  if (image.visibility !== "shared") return;
  await insertImageMember(trx, { imageId: image.id, memberId: server.project_id, status: "accepted", createdAtMs: image.createdAtMs, updatedAtMs: image.createdAtMs });
}
