import type { WorkerPoolConfig } from "#/config/pools/worker.ts";
import { type BlockNode, formatNode, remoteNode } from "#/domain/block-node.ts";
import { throwIfCancelled } from "#/domain/cancel.ts";
import { AppError } from "#/domain/errors.ts";
import type { DiskId } from "#/domain/ids.ts";
import type { Message } from "#/lib/conversation.ts";
import { KiB } from "#/lib/units.ts";
import { ZEROES } from "#/lib/zeroes.ts";
import type {
  ByteRange,
  Capabilities,
  Capacity,
  DedupOptions,
  Deduped,
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
import { WorkerConnection } from "#/storage/worker/connection.ts";
import { parseWorkerLocation, workerLocation } from "#/storage/worker/location.ts";
import type { WorkerFacts } from "#/storage/worker/protocol.ts";
import { WorkerWriter } from "#/storage/worker/writer.ts";
import { readTlsFolder } from "#/tools/tls-folder.ts";

/** Data comes in parts of at most this size, into buffers in turn. */
const BUFFER_BYTES = 256 * KiB;
/** Ids of 39 bytes each, in a message of at most 1 MiB. */
const ORDER_LENGTH_MAX = 25_000;

/**
 * A pool of another host, which its worker serves: each method is a call there, over HTTPS, and disks are opened over NBD with
 * TLS, both with certificates on both sides. The worker has the driver that does the work; this one knows only the way.
 */
export class WorkerDriver implements StorageDriver {
  readonly kind = "worker";
  readonly can: Capabilities;
  readonly #worker: WorkerConnection;
  readonly #config: WorkerPoolConfig;
  readonly #nbdPort: number;

  private constructor(worker: WorkerConnection, config: WorkerPoolConfig, { can, nbdPort }: { readonly can: Capabilities; readonly nbdPort: number }) {
    this.can = can;
    this.#worker = worker;
    this.#config = config;
    this.#nbdPort = nbdPort;
  }

  /** Asks the worker what the pool can do. Errors: `pool_unavailable`; `config_invalid` without certificates. */
  static async open(config: WorkerPoolConfig): Promise<WorkerDriver> {
    const worker = new WorkerConnection(config.url, await readTlsFolder(config.tlsDir, "client"));
    try {
      const { pools, nbdPort } = await worker.facts();
      return new WorkerDriver(worker, config, { can: asSeenFromHere(poolOf(pools, config, worker.host), worker.host), nbdPort });
    } catch (error) {
      worker[Symbol.dispose]();
      throw error;
    }
  }

  async capacity(): Promise<Capacity> {
    return (await this.#ask("capacity")) as Capacity;
  }

  async *list(): AsyncIterable<StoredDisk> {
    yield* this.#each<StoredDisk>("list", {});
  }

  async stat(id: DiskId, location?: string): Promise<StoredDisk | undefined> {
    const place = location === undefined ? { pool: this.#config.pool, id } : this.#parse(location);
    if (place?.pool !== this.#config.pool) return undefined;
    return ((await this.#ask("stat", { id: place.id })) ?? undefined) as StoredDisk | undefined;
  }

  locate({ id, location }: Pick<StoredRef, "id" | "location">): string {
    return location ?? workerLocation({ host: this.#worker.host, pool: this.#config.pool, id });
  }

  async create(target: NewDisk, options?: WorkOptions): Promise<void> {
    await this.#make("create", target, {}, options);
  }

  async receive(target: NewDisk, { signal }: WorkOptions = {}): Promise<DiskWriter> {
    const call = await this.#worker.call(this.#config.pool, "receive", { target: newDisk(target) }, signal);
    const first = await call.next();
    const concurrency = first.kind === "message" ? Number(first.value["concurrency"]) : 1;
    return new WorkerWriter(call, { concurrency, signal });
  }

  async *read(source: StoredRef, range: ByteRange, { signal }: WorkOptions = {}): AsyncIterable<Uint8Array> {
    using call = await this.#worker.call(this.#config.pool, "read", { disk: this.#ref(source), range }, signal);
    const buffer = new Uint8Array(BUFFER_BYTES);
    for (;;) {
      const part = await call.next();
      throwIfCancelled(signal);
      if (part.kind === "message" && "result" in part.value) return;
      if (part.kind === "message") continue;
      for (let done = 0; done < part.lengthBytes; done += BUFFER_BYTES) {
        const lengthBytes = Math.min(BUFFER_BYTES, part.lengthBytes - done);
        if (part.kind === "data") await call.take(buffer.subarray(0, lengthBytes));
        yield (part.kind === "data" ? buffer : ZEROES).subarray(0, lengthBytes);
      }
    }
  }

  async clone(source: StoredRef, target: NewDisk, options?: WorkOptions): Promise<Lineage> {
    return asLineage(await this.#make("clone", target, { source: this.#ref(source) }, options));
  }

  async snapshot(source: StoredRef, target: NewDisk, options?: WorkOptions): Promise<Lineage> {
    return asLineage(await this.#ask("snapshot", { source: this.#ref(source), target: newDisk(target) }, options));
  }

  async copy(source: StoredRef, target: NewDisk, options?: WorkOptions): Promise<void> {
    await this.#make("copy", target, { source: this.#ref(source) }, options);
  }

  /** The worker shows the new disk under a name of its own for as long as it is being filled. */
  async fill(target: NewDisk, fill: Fill, { signal }: WorkOptions = {}): Promise<void> {
    if (!this.can.fills?.includes(target.format)) throw new AppError("not_supported", this.can.why.fills ?? "");
    const call = await this.#worker.call(this.#config.pool, "fill", { target: newDisk(target) }, signal);
    let failure: { readonly error: unknown } | undefined;
    const fillIt = async ({ fill: name, bytesPerSecondMax }: Message) => {
      if (typeof name !== "string") return;
      failure = await outcomeOf(() => fill(this.#node(name), bytesPerSecondMax === undefined ? undefined : Number(bytesPerSecondMax)));
      await call.say(failure ? { failed: true } : { filled: true });
    };
    await call.result(fillIt).catch((error: unknown) => {
      throw failure ? failure.error : error;
    });
  }

  async resize(disk: StoredRef, virtualSizeBytes: number, options?: WorkOptions): Promise<void> {
    await this.#ask("resize", { disk: this.#ref(disk), virtualSizeBytes }, options);
  }

  async flatten(disk: StoredRef, options?: WorkOptions): Promise<void> {
    await this.#ask("flatten", { disk: this.#ref(disk) }, options);
  }

  async delete(id: DiskId, options?: WorkOptions): Promise<void> {
    await this.#ask("delete", { id }, options);
  }

  /** The name says all that the worker needs to find the disk, also after it was started again. */
  async open(disk: StoredRef, mode: "read" | "write"): Promise<BlockNode> {
    await this.#ask("open", { disk: this.#ref(disk), mode });
    const shown = this.#node(`${this.#config.pool}/${disk.id}/${disk.format}/${mode}`);
    return disk.format === "raw" || disk.format === "iso" ? shown : formatNode(shown, disk.format);
  }

  /** Of a very long order the end is left out: those come last, unordered. */
  async dedup({ order, onDone, ...options }: DedupOptions = {}): Promise<void> {
    await this.#ask("dedup", { ...(order && { order: order.slice(0, ORDER_LENGTH_MAX) }) }, options, ({ done }) => done && onDone?.(done as Deduped));
  }

  async measureSpace(options?: WorkOptions): Promise<SharedSpace> {
    return (await this.#ask("measureSpace", {}, options)) as SharedSpace;
  }

  async *changes(from: StoredRef, to: StoredRef, range: ByteRange, options?: WorkOptions): AsyncIterable<ByteRange> {
    yield* this.#each<ByteRange>("changes", { from: this.#ref(from), to: this.#ref(to), range }, options);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#worker[Symbol.dispose]();
  }

  /** The worker may have been done before it heard that this was cancelled. */
  async #make(method: string, target: NewDisk, parameters: object, options: WorkOptions = {}): Promise<unknown> {
    const { wasThere, made } = (await this.#ask(method, { ...parameters, target: newDisk(target) }, options)) as { readonly wasThere: boolean; readonly made: unknown };
    if (options.signal?.aborted && !wasThere) await this.delete(target.id);
    throwIfCancelled(options.signal);
    return made;
  }

  async #ask(method: string, parameters: object = {}, { signal, onProgress, bytesPerSecondMax }: WorkOptions = {}, onMessage?: (message: Message) => void): Promise<unknown> {
    const rate = bytesPerSecondMax === undefined ? {} : { bytesPerSecondMax };
    const call = await this.#worker.call(this.#config.pool, method, { ...parameters, ...rate }, signal);
    return call.result((message) => {
      if (typeof message["progress"] === "number") onProgress?.(message["progress"]);
      onMessage?.(message);
    });
  }

  async *#each<Item>(method: string, parameters: object, { signal }: WorkOptions = {}): AsyncIterable<Item> {
    using call = await this.#worker.call(this.#config.pool, method, parameters, signal);
    for (;;) {
      const part = await call.next();
      if (part.kind !== "message") continue;
      if ("result" in part.value) return;
      yield* (part.value["items"] ?? []) as Item[];
    }
  }

  #node(name: string): BlockNode {
    return remoteNode({ host: this.#worker.hostname, port: this.#nbdPort, export: name, tlsDir: this.#config.tlsDir });
  }

  /** As the worker is told of a disk: by the pool that it lies in, never by a location. */
  #ref({ id, format, virtualSizeBytes, parent, location }: StoredRef): object {
    const ref = { id, format, virtualSizeBytes, ...(parent && { parent }) };
    if (location === undefined) return ref;
    const place = this.#parse(location);
    if (!place) throw new AppError("not_supported", `${location} is no disk of this worker`);
    return { ...ref, id: place.id, ...(place.pool !== this.#config.pool && { pool: place.pool }) };
  }

  #parse(location: string) {
    const place = parseWorkerLocation(location);
    return place?.host === this.#worker.host ? place : undefined;
  }
}

function poolOf(pools: WorkerFacts["pools"], { pool }: WorkerPoolConfig, host: string): Capabilities {
  const facts = pools[pool];
  if (!facts) throw new AppError("pool_unavailable", `the worker at ${host} has no pool "${pool}"`);
  if (facts.down !== undefined) throw new AppError("pool_unavailable", `the worker at ${host} says that it is down: ${facts.down}`);
  return facts.can;
}

/** Pools of one worker share what they share there. Over NBD a disk has the size that it was made with. */
function asSeenFromHere({ place, copyPlace, why, ...can }: Capabilities, host: string): Capabilities {
  return {
    ...can,
    place: `worker:${host}/${place}`,
    ...(copyPlace !== undefined && { copyPlace: `worker:${host}/${copyPlace}` }),
    fills: ["raw", "iso"],
    growsInUse: false,
    why: { ...why, growsInUse: "QEMU learns the size of a disk on another host only when it connects", fills: "other formats grow while they are written, and a disk that is shown over NBD does not" },
  };
}

/** Only what a driver needs: whoever calls may hand over whole records. */
function newDisk({ id, format, virtualSizeBytes, frozen }: NewDisk): object {
  return { id, format, virtualSizeBytes, ...(frozen !== undefined && { frozen }) };
}

function asLineage(told: unknown): Lineage {
  const entries = Object.entries(told as Record<string, DiskId | null>).map(([end, parent]) => [end, parent ?? undefined]);
  return Object.fromEntries(entries) as Lineage;
}

async function outcomeOf(work: () => Promise<void>): Promise<{ readonly error: unknown } | undefined> {
  try {
    await work();
    return undefined;
  } catch (error) {
    return { error };
  }
}
