import { createHash } from "node:crypto";
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  HeadObjectCommand,
  type S3Client,
  UploadPartCommand,
  UploadPartCopyCommand,
} from "@aws-sdk/client-s3";
import { AppError } from "#/domain/errors.ts";
import type { ByteRange } from "#/storage/driver.ts";
import type { ObjectName } from "#/storage/s3/object-name.ts";
import { isAnswer, tellingErrors } from "#/storage/s3/errors.ts";

/** The most that S3 takes of one object. */
export const PARTS_MAX = 10_000;
/** The least that a part may have, but for the last one. */
export const PART_BYTES_MIN = 5 * 1024 * 1024;

/** An object in the making, of parts in any order: nothing is visible until it is completed, and then all of it. */
export class MultipartUpload {
  readonly name: ObjectName;
  readonly id: string;
  readonly #client: S3Client;
  /** By number, from 1. */
  readonly #etags = new Map<number, string>();

  constructor(client: S3Client, name: ObjectName, id: string) {
    this.#client = client;
    this.name = name;
    this.id = id;
  }

  /** Throws the errors of the service as they are. */
  static async begin(client: S3Client, name: ObjectName, signal?: AbortSignal): Promise<MultipartUpload> {
    const command = new CreateMultipartUploadCommand({ Bucket: name.bucket, Key: name.key, ContentType: "application/octet-stream" });
    const { UploadId } = await client.send(command, signal ? { abortSignal: signal } : {});
    if (UploadId === undefined) throw new AppError("pool_unavailable", "the S3 service began an upload without a name");
    return new MultipartUpload(client, name, UploadId);
  }

  async put(number: number, body: Uint8Array, signal: AbortSignal): Promise<void> {
    await this.#tell(async () => {
      const command = new UploadPartCommand({ ...this.#upload(), PartNumber: number, Body: body, ContentLength: body.length });
      this.#note(number, (await this.#client.send(command, { abortSignal: signal })).ETag);
    });
  }

  /** A part that the service fills from another object by itself. */
  async copy(number: number, source: ObjectName, { start, end }: ByteRange, signal: AbortSignal): Promise<void> {
    await this.#tell(async () => {
      const from = `${source.bucket}/${source.key.split("/").map(encodeURIComponent).join("/")}`;
      const command = new UploadPartCopyCommand({ ...this.#upload(), PartNumber: number, CopySource: from, CopySourceRange: `bytes=${start}-${end - 1}` });
      this.#note(number, (await this.#client.send(command, { abortSignal: signal })).CopyPartResult?.ETag);
    });
  }

  /** The parts, in the order of their numbers, are the object. */
  async complete(): Promise<void> {
    const parts = [...this.#etags].sort(([a], [b]) => a - b).map(([PartNumber, ETag]) => ({ PartNumber, ETag }));
    await this.#tell(async () => {
      try {
        await this.#client.send(new CompleteMultipartUploadCommand({ ...this.#upload(), MultipartUpload: { Parts: parts } }));
      } catch (error) {
        // An answer that was lost on the way: the repeated request finds the upload gone, and the object there.
        if (!isAnswer(error, "NoSuchUpload") || !(await this.#isDone(parts.map(({ ETag }) => ETag)))) throw error;
      }
    });
  }

  /** Gives it up with all of its parts. It may be gone already. */
  async abort(): Promise<void> {
    await this.#tell(async () => {
      await this.#client.send(new AbortMultipartUploadCommand(this.#upload())).catch((error: unknown) => {
        if (!isAnswer(error, "NoSuchUpload")) throw error;
      });
    });
  }

  #upload(): { Bucket: string; Key: string; UploadId: string } {
    return { Bucket: this.name.bucket, Key: this.name.key, UploadId: this.id };
  }

  #note(number: number, etag: string | undefined): void {
    if (etag === undefined) throw new AppError("pool_unavailable", `the S3 service took part ${number} without saying what it has`);
    this.#etags.set(number, etag);
  }

  /** The object's tag is made of those of its parts. */
  async #isDone(etags: readonly string[]): Promise<boolean> {
    const hash = createHash("md5");
    for (const etag of etags) hash.update(Buffer.from(etag.replaceAll('"', ""), "hex"));
    const expected = `${hash.digest("hex")}-${etags.length}`;
    const found = await this.#client.send(new HeadObjectCommand({ Bucket: this.name.bucket, Key: this.name.key })).catch(() => undefined);
    return found?.ETag?.replaceAll('"', "") === expected;
  }

  #tell<Result>(work: () => Promise<Result>): Promise<Result> {
    return tellingErrors(this.name.bucket, work);
  }
}
