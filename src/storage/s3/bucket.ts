import { addAbortSignal, type Readable } from "node:stream";
import {
  CreateBucketCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadBucketCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  type ListMultipartUploadsCommandOutput,
  ListPartsCommand,
  type ListPartsCommandOutput,
  paginateListObjectsV2,
  type S3Client,
} from "@aws-sdk/client-s3";
import { AppError } from "#/domain/errors.ts";
import type { ByteRange } from "#/storage/driver.ts";
import { asStorageError, isAnswer, tellingErrors } from "#/storage/s3/errors.ts";
import { MultipartUpload } from "#/storage/s3/multipart.ts";
import type { ObjectName } from "#/storage/s3/object-name.ts";

export interface ObjectFacts {
  readonly sizeBytes: number;
  /** Changes with the content. */
  readonly etag: string | undefined;
}

/** The requests that disks take, with the errors of a pool. Every one of them may be repeated. */
export class Bucket {
  readonly name: string;
  readonly #client: S3Client;

  constructor(client: S3Client, name: string) {
    this.#client = client;
    this.name = name;
  }

  /** `pool_unavailable` where it can't be reached, or is not there. */
  async check(): Promise<void> {
    // The answer to HEAD has no body that would say what is wrong: a list of nothing does.
    await this.#tell(() => paginateListObjectsV2({ client: this.#client, pageSize: 1 }, { Bucket: this.name, Prefix: "\u007f" }).next());
  }

  /** Makes it, unless it is there. */
  async create(): Promise<void> {
    await this.#tell(async () => {
      try {
        await this.#client.send(new HeadBucketCommand({ Bucket: this.name }));
      } catch (error) {
        if (!isAnswer(error, "NotFound")) throw error;
        await this.#client.send(new CreateBucketCommand({ Bucket: this.name }));
      }
    });
  }

  /** Undefined where there is no such object. */
  async head({ bucket, key }: ObjectName, signal?: AbortSignal): Promise<ObjectFacts | undefined> {
    return this.#tell(async () => {
      try {
        const { ContentLength, ETag } = await this.#client.send(new HeadObjectCommand({ Bucket: bucket, Key: key }), options(signal));
        return { sizeBytes: ContentLength ?? 0, etag: ETag };
      } catch (error) {
        if (!isAnswer(error, "NotFound")) throw error;
        return undefined;
      }
    });
  }

  /** Bytes of an object, at least one. `disk_not_found` where it ends before, or is not what `etag` says. */
  async *read({ bucket, key }: ObjectName, range: ByteRange, { etag, signal }: { etag?: string | undefined; signal?: AbortSignal | undefined }): AsyncIterable<Uint8Array> {
    const body = await this.#tell(async () => {
      const command = new GetObjectCommand({ Bucket: bucket, Key: key, Range: `bytes=${range.start}-${range.end - 1}`, ...(etag && { IfMatch: etag }) });
      const { Body, ContentRange } = await this.#client.send(command, options(signal));
      const stream = Body as Readable;
      const total = Number(ContentRange?.split("/")[1] ?? Number.NaN);
      if (!(total >= range.end)) {
        stream.destroy();
        throw new AppError("disk_not_found", `it ends at byte ${total}, not ${range.end}`);
      }
      return signal ? addAbortSignal(signal, stream) : stream;
    });
    let left = range.end - range.start;
    try {
      for await (const chunk of body) {
        left -= (chunk as Uint8Array).length;
        yield chunk as Uint8Array;
      }
    } catch (error) {
      throw asStorageError(this.name, error);
    } finally {
      body.destroy();
    }
    if (left !== 0) throw new AppError("pool_unavailable", `the S3 service ended an answer ${left} bytes too early`);
  }

  /** The objects right in the folder `prefix`. */
  async *list(prefix: string): AsyncIterable<{ key: string; sizeBytes: number }> {
    try {
      const pages = paginateListObjectsV2({ client: this.#client }, { Bucket: this.name, Prefix: prefix, Delimiter: "/" });
      for await (const { Contents = [] } of pages) {
        for (const { Key, Size } of Contents) if (Key !== undefined) yield { key: Key, sizeBytes: Size ?? 0 };
      }
    } catch (error) {
      throw asStorageError(this.name, error);
    }
  }

  /** Uploads under way, or left by a crash, of names that begin so. */
  async *uploads(prefix: string): AsyncIterable<MultipartUpload> {
    let from: { KeyMarker?: string; UploadIdMarker?: string } | undefined = {};
    while (from) {
      const command: ListMultipartUploadsCommand = new ListMultipartUploadsCommand({ Bucket: this.name, Prefix: prefix, ...from });
      const page: ListMultipartUploadsCommandOutput = await this.#tell(() => this.#client.send(command));
      const { Uploads = [], IsTruncated, NextKeyMarker, NextUploadIdMarker } = page;
      for (const { Key, UploadId } of Uploads) {
        if (Key !== undefined && UploadId !== undefined) yield new MultipartUpload(this.#client, { bucket: this.name, key: Key }, UploadId);
      }
      from = IsTruncated ? { KeyMarker: NextKeyMarker ?? "", UploadIdMarker: NextUploadIdMarker ?? "" } : undefined;
    }
  }

  /** What the parts of an upload take so far. */
  async uploadedBytes({ name, id }: MultipartUpload): Promise<number> {
    return this.#tell(async () => {
      let bytes = 0;
      // Not the SDK's own paging: radosgw names a next page also behind the last one.
      for (let marker: string | undefined = "0"; marker !== undefined; ) {
        const page: ListPartsCommandOutput = await this.#client.send(
          new ListPartsCommand({ Bucket: name.bucket, Key: name.key, UploadId: id, PartNumberMarker: marker }),
        );
        for (const { Size } of page.Parts ?? []) bytes += Size ?? 0;
        marker = page.IsTruncated ? page.NextPartNumberMarker : undefined;
      }
      return bytes;
    });
  }

  /** Begins an object anew: uploads of the same name are given up. */
  async begin(key: string, signal?: AbortSignal): Promise<MultipartUpload> {
    await this.abortUploads(key);
    return this.#tell(() => MultipartUpload.begin(this.#client, { bucket: this.name, key }, signal));
  }

  async abortUploads(key: string): Promise<void> {
    for await (const upload of this.uploads(key)) if (upload.name.key === key) await upload.abort();
  }

  async delete(key: string): Promise<void> {
    await this.#tell(() => this.#client.send(new DeleteObjectCommand({ Bucket: this.name, Key: key })));
  }

  #tell<Result>(work: () => Promise<Result>): Promise<Result> {
    return tellingErrors(this.name, work);
  }
}

function options(signal: AbortSignal | undefined): { abortSignal?: AbortSignal } {
  return signal ? { abortSignal: signal } : {};
}
