import type { Disk } from "#/domain/disk.ts";
import type { DiskId } from "#/domain/ids.ts";
import type { StoredDisk } from "#/storage/driver.ts";
import type { Pool } from "#/storage/pool.ts";

const KNOWN_MAX = 1000;

/**
 * What disks take that never change, remembered: each look is a process with Ceph and LVM, and a request with S3, on the way of
 * everybody who creates a volume. Ids are never used again; what takes bytes later (a flatten) only makes an estimate old. Bytes
 * that others registered and volumes are looked at each time.
 */
export class FrozenStats {
  readonly #known = new Map<DiskId, StoredDisk>();

  async stat(pool: Pool, disk: Disk): Promise<StoredDisk | undefined> {
    if (disk.holder.kind === "volume" || disk.holder.kind === "server" || disk.location !== undefined) return pool.stat(disk.id, disk.location);
    const known = this.#known.get(disk.id);
    if (known && pool.down === undefined) return known;
    const stored = await pool.stat(disk.id);
    if (stored) this.#remember(stored);
    return stored;
  }

  #remember(stored: StoredDisk): void {
    const [oldest] = this.#known.keys();
    if (this.#known.size >= KNOWN_MAX && oldest) this.#known.delete(oldest);
    this.#known.set(stored.id, stored);
  }
}
