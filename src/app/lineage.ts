import { findDisk } from "#/db/disks.ts";
import { type Caller, isAdmin, requireRole } from "#/domain/caller.ts";
import type { Disk } from "#/domain/disk.ts";
import { AppError } from "#/domain/errors.ts";
import { type DiskId, diskId } from "#/domain/ids.ts";
import type { AppContext } from "./context.ts";

/** Where a disk stands: the disks it reads through, nearest first, and those that read through it. */
export interface Lineage {
  readonly disk: Disk;
  readonly ancestors: readonly Disk[];
  readonly children: readonly Disk[];
}

export type LineageOf = { readonly kind: "disk" | "image" | "volume" | "snapshot"; readonly id: string };

/** Lineage crosses projects (two projects' volumes may share an image's bytes), so that it is shown to administrators only. */
export class Lineages {
  readonly #context: AppContext;

  constructor(context: AppContext) {
    this.#context = context;
  }

  async of(caller: Caller, { kind, id }: LineageOf): Promise<Lineage> {
    if (!isAdmin(caller)) requireRole(caller, "admin", "see how disks depend on each other");
    const disk = await findDisk(this.#context.db, await this.#diskOf(kind, id));
    if (!disk) throw new AppError("not_found", `There is no disk of ${kind} ${id}.`);
    return { disk, ancestors: await this.#ancestors(disk), children: await this.#children(disk.id) };
  }

  async #diskOf(kind: LineageOf["kind"], id: string): Promise<DiskId> {
    if (kind === "disk") return diskId(id);
    const row = await this.#context.db.selectFrom(kind).select("disk_id").where("id", "=", id).executeTakeFirst();
    if (!row?.disk_id) throw new AppError("not_found", `There is no ${kind} ${id} with a disk.`);
    return diskId(row.disk_id);
  }

  async #ancestors(disk: Disk): Promise<Disk[]> {
    const ancestors: Disk[] = [];
    for (let parent = disk.parent; parent; parent = ancestors.at(-1)?.parent) {
      const found = await findDisk(this.#context.db, parent);
      if (!found) break;
      ancestors.push(found);
    }
    return ancestors;
  }

  async #children(id: DiskId): Promise<Disk[]> {
    const rows = await this.#context.db.selectFrom("disk").select("id").where("parent_id", "=", id).execute();
    const disks = await Promise.all(rows.map((row) => findDisk(this.#context.db, diskId(row.id))));
    return disks.filter((disk) => disk !== undefined);
  }
}
