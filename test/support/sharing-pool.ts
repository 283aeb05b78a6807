import type { ByteRange, Capabilities, Lineage, NewDisk, StoredRef } from "#/storage/driver.ts";
import { FileDriver } from "#/storage/file/driver.ts";
import { type Call, DriverAround } from "#/storage/wrap/around.ts";

const BLOCK_BYTES = 64 * 1024;

/** What a file system that shares blocks does, on any: disks are frozen in place, by copies, and what has changed is known, by comparing. */
export class SharingPool extends DriverAround {
  protected readonly inner: FileDriver;

  private constructor(inner: FileDriver) {
    super();
    this.inner = inner;
  }

  static async open(folder: string): Promise<SharingPool> {
    return new SharingPool(await FileDriver.open(folder));
  }

  override get can(): Capabilities {
    return { ...this.inner.can, clone: "independent", changes: "extents" };
  }

  protected async run<Result>(_: Call, work: () => Promise<Result>): Promise<Result> {
    return work();
  }

  override async clone(source: StoredRef, target: NewDisk): Promise<Lineage> {
    await this.inner.copy(source, target);
    return { target: undefined };
  }

  override async snapshot(source: StoredRef, target: NewDisk): Promise<Lineage> {
    return this.clone(source, target);
  }

  override async *changes(from: StoredRef, to: StoredRef, range: ByteRange): AsyncIterable<ByteRange> {
    for (let start = range.start; start < range.end; start += BLOCK_BYTES) {
      const block = { start, end: Math.min(range.end, start + BLOCK_BYTES) };
      const [before, now] = await Promise.all([this.#content(from, block), this.#content(to, block)]);
      if (!before.equals(now)) yield block;
    }
  }

  async #content(disk: StoredRef, range: ByteRange): Promise<Buffer> {
    const parts: Buffer[] = [];
    for await (const part of this.inner.read(disk, range)) parts.push(Buffer.from(part));
    return Buffer.concat(parts);
  }
}
