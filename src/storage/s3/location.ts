import { AppError } from "#/domain/errors.ts";
import { type DiskId, diskId } from "#/domain/ids.ts";
import type { ObjectName } from "#/storage/s3/object-name.ts";

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** How disks are called in a bucket, and how their bytes are found at a URL. */
export class ObjectNames {
  readonly #host: string;
  readonly #bucket: string;
  readonly #prefix: string;

  constructor({ endpoint, bucket, prefix }: { readonly endpoint: string; readonly bucket: string; readonly prefix: string }) {
    this.#host = new URL(endpoint).host;
    this.#bucket = bucket;
    this.#prefix = prefix;
  }

  get prefix(): string {
    return this.#prefix;
  }

  key(id: DiskId): string {
    return `${this.#prefix}${id}`;
  }

  /** The disk whose name it is; undefined for what others have put into the bucket. */
  disk(key: string): DiskId | undefined {
    const name = key.slice(this.#prefix.length);
    return key.startsWith(this.#prefix) && UUID.test(name) ? diskId(name) : undefined;
  }

  /** `s3://HOST[:PORT]/BUCKET/OBJECT`: as Glance writes it, but for the keys, which it has in the URL. */
  locate(id: DiskId): string {
    return `s3://${this.#host}/${this.#bucket}/${encodeKey(this.key(id))}`;
  }

  object(id: DiskId, location: string | undefined): ObjectName {
    return location === undefined ? { bucket: this.#bucket, key: this.key(id) } : this.#parse(location);
  }

  #parse(location: string): ObjectName {
    const url = URL.canParse(location) ? new URL(location) : undefined;
    const [, bucket, key] = /^\/([^/]+)\/(.+)$/.exec(url?.pathname ?? "") ?? [];
    if (url?.protocol !== "s3:" || url.host !== this.#host || bucket === undefined || key === undefined) {
      throw new AppError("disk_not_found", `its location is no object of the S3 service at ${this.#host}`);
    }
    return { bucket, key: decodeURIComponent(key) };
  }
}

function encodeKey(key: string): string {
  return key.split("/").map(encodeURIComponent).join("/");
}
