import type { BlockNode } from "#/domain/block-node.ts";
import { AppError } from "#/domain/errors.ts";
import type { DiskId } from "#/domain/ids.ts";
import type {
  ByteRange,
  Capabilities,
  Capacity,
  DedupOptions,
  DiskWriter,
  Fill,
  Lineage,
  NewDisk,
  SharedSpace,
  StorageDriver,
  StoredDisk,
  StoredRef,
  WorkOptions,
} from "#/storage/driver.ts";

/** One call of a driver, or of the writer that it gave. */
export interface Call {
  readonly name: Exclude<keyof StorageDriver, "kind" | "can" | "locate" | typeof Symbol.asyncDispose> | keyof Omit<DiskWriter, "concurrency">;
  /** The disk that is made or changed; the source, where there is no other. */
  readonly disk?: DiskId | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * A driver around a driver. Each call goes through `run()`, which a subclass writes; `read()`, `list()` and the writer are of
 * many steps, and a subclass may treat them in its own way.
 */
export abstract class DriverAround implements StorageDriver {
  protected abstract readonly inner: StorageDriver;

  protected abstract run<Result>(call: Call, work: () => Promise<Result>): Promise<Result>;

  get kind(): string {
    return this.inner.kind;
  }

  get can(): Capabilities {
    return this.inner.can;
  }

  async capacity(): Promise<Capacity> {
    return this.run({ name: "capacity" }, () => this.inner.capacity());
  }

  list(): AsyncIterable<StoredDisk> {
    return this.inner.list();
  }

  async stat(id: DiskId, location?: string): Promise<StoredDisk | undefined> {
    return this.run({ name: "stat", disk: id }, () => this.inner.stat(id, location));
  }

  locate(disk: Pick<StoredRef, "id" | "location">): string {
    return this.inner.locate(disk);
  }

  async create(target: NewDisk, options?: WorkOptions): Promise<void> {
    return this.run(callOn("create", target, options), () => this.inner.create(target, options));
  }

  async receive(target: NewDisk, options?: WorkOptions): Promise<DiskWriter> {
    const writer = await this.run(callOn("receive", target, options), () => this.inner.receive(target, options));
    return {
      concurrency: writer.concurrency,
      write: (block, offset) => this.write(writer, { block, offset }, callOn("write", target, options)),
      finish: (sizeBytes) => this.finish(writer, sizeBytes, callOn("finish", target, options)),
      abort: () => writer.abort(),
    };
  }

  protected write(writer: DiskWriter, { block, offset }: { block: Uint8Array; offset: number }, call: Call): Promise<void> {
    return this.run(call, () => writer.write(block, offset));
  }

  protected finish(writer: DiskWriter, sizeBytes: number, call: Call): Promise<void> {
    return this.run(call, () => writer.finish(sizeBytes));
  }

  read(source: StoredRef, range: ByteRange, options?: WorkOptions): AsyncIterable<Uint8Array> {
    return this.inner.read(source, range, options);
  }

  async clone(source: StoredRef, target: NewDisk, options?: WorkOptions): Promise<Lineage> {
    return this.run(callOn("clone", target, options), () => this.inner.clone(source, target, options));
  }

  async snapshot(source: StoredRef, target: NewDisk, options?: WorkOptions): Promise<Lineage> {
    return this.run(callOn("snapshot", target, options), () => this.inner.snapshot(source, target, options));
  }

  async copy(source: StoredRef, target: NewDisk, options?: WorkOptions): Promise<void> {
    return this.run(callOn("copy", target, options), () => this.inner.copy(source, target, options));
  }

  async fill(target: NewDisk, fill: Fill, options?: WorkOptions): Promise<void> {
    return this.run(callOn("fill", target, options), () => this.inner.fill(target, fill, options));
  }

  async resize(disk: StoredRef, virtualSizeBytes: number, options?: WorkOptions): Promise<void> {
    return this.run(callOn("resize", disk, options), () => this.inner.resize(disk, virtualSizeBytes, options));
  }

  async flatten(disk: StoredRef, options?: WorkOptions): Promise<void> {
    return this.run(callOn("flatten", disk, options), () => this.inner.flatten(disk, options));
  }

  async delete(id: DiskId, options?: WorkOptions): Promise<void> {
    return this.run({ name: "delete", disk: id, signal: options?.signal }, () => this.inner.delete(id, options));
  }

  async open(disk: StoredRef, mode: "read" | "write"): Promise<BlockNode> {
    return this.run(callOn("open", disk), () => this.inner.open(disk, mode));
  }

  async dedup(options?: DedupOptions): Promise<void> {
    return this.run({ name: "dedup", signal: options?.signal }, async () => offered(this.inner, "dedup").dedup(options));
  }

  async measureSpace(options?: WorkOptions): Promise<SharedSpace> {
    return this.run({ name: "measureSpace", signal: options?.signal }, async () => offered(this.inner, "measureSpace").measureSpace(options));
  }

  changes(from: StoredRef, to: StoredRef, range: ByteRange, options?: WorkOptions): AsyncIterable<ByteRange> {
    return offered(this.inner, "changes").changes(from, to, range, options);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.inner[Symbol.asyncDispose]();
  }
}

/** The driver with a method that only some have. */
export function offered<Name extends "dedup" | "measureSpace" | "changes">(driver: StorageDriver, name: Name): StorageDriver & Required<Pick<StorageDriver, Name>> {
  if (!driver[name]) throw new AppError("not_supported", `the driver ${driver.kind} has no ${name}()`);
  return driver as StorageDriver & Required<Pick<StorageDriver, Name>>;
}

function callOn(name: Call["name"], { id }: { readonly id: DiskId }, options?: WorkOptions): Call {
  return { name, disk: id, signal: options?.signal };
}
