import type { S3Client } from "@aws-sdk/client-s3";
import type { S3Config } from "#/config/pools/s3.ts";
import type { BlockNode } from "#/domain/block-node.ts";
import { throwIfCancelled } from "#/domain/cancel.ts";
import { AppError, asAppError } from "#/domain/errors.ts";
import type { DiskId } from "#/domain/ids.ts";
import type { Log } from "#/lib/log.ts";
import type { ByteRange, Capabilities, Capacity, DiskWriter, Lineage, NewDisk, StorageDriver, StoredDisk, StoredRef, WorkOptions } from "#/storage/driver.ts";
import type { RemoteBytes } from "#/storage/remote/chunks.ts";
import { RemoteExports } from "#/storage/remote/exports.ts";
import { Bucket } from "#/storage/s3/bucket.ts";
import type { ObjectName } from "#/storage/s3/object-name.ts";
import { openClient } from "#/storage/s3/client.ts";
import { copyInto } from "#/storage/s3/copy.ts";
import { ObjectNames } from "#/storage/s3/location.ts";
import type { MultipartUpload } from "#/storage/s3/multipart.ts";
import { PartLayout } from "#/storage/s3/parts.ts";
import { S3Writer } from "#/storage/s3/writer.ts";

/**
 * Disks as objects in a bucket of any S3 service. An object comes whole, by a multipart upload, and never changes; it is
 * copied by the service itself, and read in place by range requests.
 */
export class S3Driver implements StorageDriver {
  readonly kind = "s3";
  readonly can: Capabilities;
  readonly #section: S3Config;
  readonly #client: S3Client;
  readonly #bucket: Bucket;
  readonly #names: ObjectNames;
  readonly #exports: RemoteExports;

  /** Makes no request: a service that is down is no reason not to start. Errors: `pool_unavailable` where its certificates can't be read. */
  constructor(section: S3Config, { log }: { readonly log: Log }) {
    this.#section = section;
    this.#client = openClient(section);
    this.#bucket = new Bucket(this.#client, section.bucket);
    this.#names = new ObjectNames(section);
    this.#exports = new RemoteExports((error) => log.warn({ because: String(error) }, "remote read failed"));
    this.can = {
      clone: "none",
      snapshot: false,
      offloadCopy: true,
      addressable: "read",
      mutable: false,
      sparse: false,
      place: `s3:${new URL(section.endpoint).host}`,
      why: {
        clone: "objects of an S3 service share no bytes",
        snapshot: "objects of an S3 service never change",
        addressable: "objects of an S3 service come whole: they can be read in place, not written",
        mutable: "objects of an S3 service come whole, and never change",
        sparse: "objects of an S3 service have no holes",
      },
    };
  }

  async capacity(): Promise<Capacity> {
    const { capacityBytes: totalBytes } = this.#section;
    await this.#unlessMissing(() => this.#bucket.check(), undefined);
    let usedBytes = 0;
    for await (const { allocatedBytes } of this.list()) usedBytes += allocatedBytes;
    return { totalBytes, freeBytes: Math.max(0, totalBytes - usedBytes) };
  }

  async *list(): AsyncIterable<StoredDisk> {
    const whole = await this.#unlessMissing(() => this.#listWhole(), new Map<DiskId, StoredDisk>());
    yield* whole.values();
    const partial = await this.#unlessMissing(() => this.#listPartial(), new Map<DiskId, StoredDisk>());
    for (const disk of partial.values()) if (!whole.has(disk.id)) yield disk;
  }

  async stat(id: DiskId, location?: string): Promise<StoredDisk | undefined> {
    const found = await this.#bucket.head(this.#names.object(id, location));
    return found && { id, sizeBytes: found.sizeBytes, allocatedBytes: found.sizeBytes };
  }

  locate({ id, location }: Pick<StoredRef, "id" | "location">): string {
    return location ?? this.#names.locate(id);
  }

  async create(): Promise<void> {
    throw this.#refusal("mutable");
  }

  async receive(target: NewDisk, { signal }: WorkOptions = {}): Promise<DiskWriter> {
    throwIfCancelled(signal);
    const { partSizeBytes, partsAtOnce } = this.#section;
    const upload = await this.#begin(target.id, signal);
    return new S3Writer(upload, { layout: new PartLayout(partSizeBytes, target.virtualSizeBytes), partsAtOnce, signal });
  }

  async *read(source: StoredRef, range: ByteRange, { signal }: WorkOptions = {}): AsyncIterable<Uint8Array> {
    throwIfCancelled(signal);
    const object = this.#names.object(source.id, source.location);
    if (range.start < range.end) yield* this.#bucket.read(object, range, { signal });
    else if ((await this.#facts(object, signal)).sizeBytes < range.end) throw new AppError("disk_not_found", `it ends before byte ${range.end}`);
  }

  async clone(): Promise<Lineage> {
    throw this.#refusal("clone");
  }

  async snapshot(): Promise<Lineage> {
    throw this.#refusal("snapshot");
  }

  async copy(source: StoredRef, target: NewDisk, options: WorkOptions = {}): Promise<void> {
    if (source.format !== target.format) throw new AppError("not_supported", `a ${source.format} disk is not ${target.format} by copying it`);
    throwIfCancelled(options.signal);
    if (await this.stat(target.id)) return;
    const object = this.#names.object(source.id, source.location);
    const { sizeBytes: sourceBytes } = await this.#facts(object, options.signal);
    const targetBytes = target.format === "raw" ? Math.max(sourceBytes, target.virtualSizeBytes) : sourceBytes;
    await copyInto(await this.#begin(target.id, options.signal), { bucket: this.#bucket, source: object, sourceBytes, targetBytes, ...options });
  }

  async fill(): Promise<void> {
    throw this.#refusal("addressable");
  }

  async resize(): Promise<void> {
    throw this.#refusal("mutable");
  }

  /** Every object stands alone. */
  async flatten(disk: StoredRef): Promise<void> {
    await this.#facts(this.#names.object(disk.id, disk.location));
  }

  async delete(id: DiskId): Promise<void> {
    const key = this.#names.key(id);
    await this.#unlessMissing(async () => {
      await this.#bucket.abortUploads(key);
      await this.#bucket.delete(key);
    }, undefined);
  }

  async open(disk: StoredRef, mode: "read" | "write"): Promise<BlockNode> {
    if (mode === "write") throw this.#refusal("addressable");
    const object = this.#names.object(disk.id, disk.location);
    await this.#facts(object);
    return this.#exports.node(this.locate(disk), disk.format, () => this.#remote(object));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#exports[Symbol.asyncDispose]();
    this.#client.destroy();
  }

  /** The object as it is now: what replaces it meanwhile is not mixed with it. */
  async #remote(object: ObjectName): Promise<RemoteBytes> {
    const { sizeBytes, etag } = await this.#facts(object);
    return {
      sizeBytes,
      fetch: (range, signal) => this.#bucket.read(object, range, { etag, signal }),
    };
  }

  async #facts(object: ObjectName, signal?: AbortSignal): Promise<{ sizeBytes: number; etag: string | undefined }> {
    const facts = await this.#bucket.head(object, signal);
    if (!facts) throw new AppError("disk_not_found", `there is no object ${object.key} in bucket "${object.bucket}"`);
    return facts;
  }

  async #begin(id: DiskId, signal: AbortSignal | undefined): Promise<MultipartUpload> {
    const key = this.#names.key(id);
    try {
      return await this.#bucket.begin(key, signal);
    } catch (error) {
      if (!this.#section.createBucketOnPut || !isMissingBucket(error)) throw error;
      await this.#bucket.create();
      return this.#bucket.begin(key, signal);
    }
  }

  /** A bucket that is made at the first upload counts as empty before. */
  async #unlessMissing<Result>(work: () => Promise<Result>, otherwise: Result): Promise<Result> {
    try {
      return await work();
    } catch (error) {
      if (this.#section.createBucketOnPut && isMissingBucket(error)) return otherwise;
      throw error;
    }
  }

  async #listWhole(): Promise<Map<DiskId, StoredDisk>> {
    const found = new Map<DiskId, StoredDisk>();
    for await (const { key, sizeBytes } of this.#bucket.list(this.#names.prefix)) {
      const id = this.#names.disk(key);
      if (id) found.set(id, { id, sizeBytes, allocatedBytes: sizeBytes });
    }
    return found;
  }

  async #listPartial(): Promise<Map<DiskId, StoredDisk>> {
    const found = new Map<DiskId, StoredDisk>();
    for await (const upload of this.#bucket.uploads(this.#names.prefix)) {
      const id = this.#names.disk(upload.name.key);
      if (!id) continue;
      const bytes = (found.get(id)?.allocatedBytes ?? 0) + (await this.#bucket.uploadedBytes(upload));
      found.set(id, { id, sizeBytes: bytes, allocatedBytes: bytes, partial: true });
    }
    return found;
  }

  #refusal(capability: "clone" | "snapshot" | "addressable" | "mutable"): AppError {
    return new AppError("not_supported", this.can.why[capability] as string);
  }
}

function isMissingBucket(error: unknown): boolean {
  return (asAppError(error)?.cause as Error | undefined)?.name === "NoSuchBucket";
}
