import { access, readdir } from "node:fs/promises";
import type { Database } from "#/db/database.ts";
import { captureFolder } from "#/vm/capture-folder.ts";
import type { HypervisorDriver } from "#/vm/driver.ts";
import { type Finding, finding } from "./finding.ts";
import { openSubjects } from "./open-subjects.ts";

/**
 * What captures of servers may leave over: views and mirrors that are open in guests, the folders of what was kept aside, and snapshots of images that are gone. Guests are
 * left out where the hypervisor does not answer.
 */
export async function auditCaptures(db: Database, hypervisor: HypervisorDriver, { serversDir }: { readonly serversDir: string }): Promise<Finding[]> {
  const busy = await openSubjects(db);
  return [...(await auditViews(hypervisor, busy)), ...(await auditFolders(serversDir, busy)), ...(await auditSnapshots(db, busy))];
}

/** A backup that is not Mica's is its owner's business. */
async function auditViews(hypervisor: HypervisorDriver, busy: ReadonlySet<string>): Promise<Finding[]> {
  const guests = await hypervisor.list().catch(() => []);
  const findings: Finding[] = [];
  for (const { id } of guests.filter(({ id, state }) => !busy.has(id) && (state === "running" || state === "paused"))) {
    const guest = await hypervisor.stat(id).catch(() => undefined);
    if (guest?.backup?.name) findings.push(finding("open_view", `views of guest ${id}`, `The guest of server ${id} has views of its disks open ("${guest.backup.name}"), and no operation works on it.`));
    for (const target of guest?.mirrored ?? []) findings.push(finding("open_view", `mirror of disk ${target} of guest ${id}`, `Disk ${target} of the guest of server ${id} is being mirrored, and no operation works on it.`));
  }
  return findings;
}

async function auditFolders(serversDir: string, busy: ReadonlySet<string>): Promise<Finding[]> {
  const ids = (await readdir(serversDir).catch(() => [])).filter((id) => !busy.has(id));
  const left = await Promise.all(ids.map((id) => access(captureFolder(serversDir, id)).then(() => [id], () => [])));
  return left.flat().map((id) => finding("orphan_bytes", `folder ${captureFolder(serversDir, id)}`, `The folder of a capture of server ${id} is left over, and no operation works on it.`));
}

async function auditSnapshots(db: Database, busy: ReadonlySet<string>): Promise<Finding[]> {
  const rows = await db
    .selectFrom("snapshot")
    .leftJoin("image", "image.id", "snapshot.image_id")
    .select(["snapshot.id as id", "snapshot.image_id as imageId"])
    .where("snapshot.image_id", "is not", null)
    .where("image.id", "is", null)
    .execute();
  return rows
    .filter(({ id, imageId }) => !busy.has(id) && !busy.has(imageId ?? ""))
    .map(({ id, imageId }) => finding("orphan_snapshot", `snapshot ${id}`, `The snapshot ${id} was taken for the image ${imageId}, which there is no more.`));
}
