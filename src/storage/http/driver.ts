import { readFileSync } from "node:fs";
import { rootCertificates } from "node:tls";
import type { HttpConfig } from "#/config/pools/http.ts";
import type { BlockNode } from "#/domain/block-node.ts";
import { throwIfCancelled } from "#/domain/cancel.ts";
import { AppError } from "#/domain/errors.ts";
import type { DiskId } from "#/domain/ids.ts";
import type { Log } from "#/lib/log.ts";
import type { ByteRange, Capabilities, Capacity, DiskWriter, Lineage, StorageDriver, StoredDisk, StoredRef, WorkOptions } from "#/storage/driver.ts";
import { Outbound } from "#/storage/http/outbound.ts";
import { Resource, type ResourceFacts } from "#/storage/http/resource.ts";
import type { RemoteBytes } from "#/storage/remote/chunks.ts";
import { RemoteExports } from "#/storage/remote/exports.ts";

/** Disks on web servers that others fill: each has a location, under no id of ours is anything, and nothing is ever changed. */
export class HttpDriver implements StorageDriver {
  readonly kind = "http";
  readonly can: Capabilities = {
    clone: "none",
    snapshot: false,
    offloadCopy: false,
    addressable: "read",
    mutable: false,
    readOnly: true,
    sparse: false,
    place: "http",
    why: {
      clone: "web servers share no bytes",
      snapshot: OTHERS,
      offloadCopy: "web servers do not copy for us",
      addressable: `${OTHERS}: they can be read in place, not written`,
      mutable: OTHERS,
      sparse: "files of web servers come without holes",
    },
  };
  readonly #outbound: Outbound;
  readonly #exports: RemoteExports;

  /** Errors: `pool_unavailable` where its certificates can't be read. */
  constructor({ allowedHosts, caPath, silenceMsMax }: HttpConfig, { log }: { readonly log: Log }) {
    const ca = caPath === undefined ? undefined : [...rootCertificates, readCertificates(caPath)];
    this.#outbound = new Outbound({ allowedHosts, ca, silenceMsMax });
    this.#exports = new RemoteExports((error) => log.warn({ because: String(error) }, "remote read failed"));
  }

  /** Nothing of ours is there, and nothing can be brought. */
  async capacity(): Promise<Capacity> {
    return { totalBytes: 0, freeBytes: 0 };
  }

  async *list(): AsyncIterable<StoredDisk> {}

  async stat(id: DiskId, location?: string): Promise<StoredDisk | undefined> {
    if (location === undefined) return undefined;
    const facts = await new Resource(this.#outbound, location).look();
    if (!facts) return undefined;
    const { sizeBytes, hasRanges } = facts;
    return { id, sizeBytes, allocatedBytes: sizeBytes, ...(!hasRanges && { onlyInOrder: withoutRanges(location) }) };
  }

  locate({ location }: Pick<StoredRef, "location">): string {
    if (location === undefined) throw new AppError("not_supported", OTHERS);
    return location;
  }

  async create(): Promise<void> {
    throw refusal();
  }

  async receive(): Promise<DiskWriter> {
    throw refusal();
  }

  async *read(source: StoredRef, range: ByteRange, { signal }: WorkOptions = {}): AsyncIterable<Uint8Array> {
    throwIfCancelled(signal);
    const resource = this.#resource(source);
    if (range.start < range.end) yield* resource.read(range, { signal });
    else if ((await required(resource, signal)).sizeBytes < range.end) throw new AppError("disk_not_found", `it ends before byte ${range.end}`);
  }

  async clone(): Promise<Lineage> {
    throw refusal();
  }

  async snapshot(): Promise<Lineage> {
    throw refusal();
  }

  async copy(): Promise<void> {
    throw refusal();
  }

  async fill(): Promise<void> {
    throw refusal();
  }

  async resize(): Promise<void> {
    throw refusal();
  }

  /** What is on a web server stands alone. */
  async flatten(disk: StoredRef): Promise<void> {
    await required(this.#resource(disk));
  }

  /** Bytes at a location are not ours, and under an id there are none. */
  async delete(): Promise<void> {}

  async open(disk: StoredRef, mode: "read" | "write"): Promise<BlockNode> {
    if (mode === "write") throw refusal();
    const resource = this.#resource(disk);
    const { hasRanges } = await required(resource);
    if (!hasRanges) throw new AppError("not_supported", withoutRanges(this.locate(disk)));
    return this.#exports.node(this.locate(disk), disk.format, () => remote(resource));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#exports[Symbol.asyncDispose]();
    this.#outbound[Symbol.dispose]();
  }

  #resource({ location }: StoredRef): Resource {
    if (location === undefined) throw new AppError("disk_not_found", OTHERS);
    return new Resource(this.#outbound, location);
  }
}

const OTHERS = "its disks are files of web servers, which others make";

function refusal(): AppError {
  return new AppError("not_supported", OTHERS);
}

function withoutRanges(location: string): string {
  return `${new URL(location).host} does not serve ranges of it: all bytes come, from the first to the last`;
}

async function required(resource: Resource, signal?: AbortSignal): Promise<ResourceFacts> {
  const facts = await resource.look(signal);
  if (!facts) throw new AppError("disk_not_found", "there is nothing at its URL");
  return facts;
}

/** The content as it is now: what replaces it meanwhile is not mixed with it. */
async function remote(resource: Resource): Promise<RemoteBytes> {
  const { sizeBytes, etag } = await required(resource);
  return {
    sizeBytes,
    fetch: (range, signal) => resource.read(range, { etag, sizeBytes, signal }),
  };
}

function readCertificates(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    throw new AppError("pool_unavailable", `its certificates ${path} cannot be read: ${(cause as Error).message}`, { cause });
  }
}
