import { access } from "node:fs/promises";
import { AppError } from "#/domain/errors.ts";
import type { DiskId } from "#/domain/ids.ts";
import type { ByteRange } from "#/storage/driver.ts";
import { asStorageError } from "#/storage/file/errors.ts";
import { readDevice } from "#/storage/file/reader.ts";
import type { DiskGroup } from "#/storage/lvm/group.ts";
import { volumeName } from "#/storage/lvm/layout.ts";
import { checkEnd } from "#/storage/read-ahead.ts";

/** Beyond, the first ones are asked for again. */
const KNOWN_MAX = 10_000;

/**
 * Reads volumes. A disk that was found whole once stays so until it is deleted, and only grows: a download in many ranges asks LVM
 * once.
 */
export class VolumeReader {
  readonly #group: DiskGroup;
  readonly #knownBytes = new Map<DiskId, number>();

  constructor(group: DiskGroup) {
    this.#group = group;
  }

  /** The disk is whole, and so long. */
  remember(id: DiskId, sizeBytes: number): void {
    const [oldest] = this.#knownBytes.keys();
    if (this.#knownBytes.size >= KNOWN_MAX && oldest) this.forget(oldest);
    this.#knownBytes.set(id, sizeBytes);
  }

  forget(id: DiskId): void {
    this.#knownBytes.delete(id);
  }

  async *read(id: DiskId, range: ByteRange, signal: AbortSignal | undefined): AsyncIterable<Uint8Array> {
    try {
      await this.#prepare(id, range);
      yield* readDevice(this.#path(id), range, signal);
    } catch (error) {
      throw asStorageError(error);
    }
  }

  async #prepare(id: DiskId, range: ByteRange): Promise<void> {
    const isKnown = range.end <= (this.#knownBytes.get(id) ?? -1);
    if (isKnown && (await isThere(this.#path(id)))) return;
    this.forget(id);
    const [disk] = await this.#group.look(id);
    if (!disk?.whole) throw new AppError("disk_not_found", `disk ${id} is not there`);
    checkEnd(disk.sizeBytes, range);
    await this.#group.awaken(disk);
    this.remember(id, disk.sizeBytes);
  }

  #path(id: DiskId): string {
    return this.#group.path({ name: volumeName(id) });
  }
}

async function isThere(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
