import { AppError } from "#/domain/errors.ts";
import type { ByteRange, DiskWriter, StorageDriver, StoredDisk, StoredRef, WorkOptions } from "#/storage/driver.ts";
import { type Call, DriverAround } from "#/storage/wrap/around.ts";

export interface FaultOptions {
  /** From 0 to 1, evenly: a seeded one makes a failure happen again. */
  readonly random: () => number;
  /** How likely each call is to fail, from 0 to 1. */
  readonly rate: number;
  /** Calls that never fail. */
  readonly spare?: readonly Call["name"][] | undefined;
}

/** Calls that may also fail after they did their work: as when the answer of a storage server is lost. */
const MAY_LOSE_ANSWER: readonly Call["name"][] = ["create", "clone", "snapshot", "copy", "resize", "flatten", "delete"];

/** Makes calls fail by chance, with `pool_unavailable`: before they do anything, or when all is done. For tests. */
export class FaultyDriver extends DriverAround {
  protected readonly inner: StorageDriver;
  readonly #options: FaultOptions;

  constructor(inner: StorageDriver, options: FaultOptions) {
    super();
    this.inner = inner;
    this.#options = options;
  }

  protected override async run<Result>({ name }: Call, work: () => Promise<Result>): Promise<Result> {
    this.#mayFail(name, "before");
    const result = await work();
    if (MAY_LOSE_ANSWER.includes(name)) this.#mayFail(name, "after");
    return result;
  }

  protected override async finish(writer: DiskWriter, sizeBytes: number): Promise<void> {
    try {
      this.#mayFail("finish", "before");
    } catch (error) {
      await writer.abort(); // A writer that fails to finish leaves nothing.
      throw error;
    }
    await writer.finish(sizeBytes);
  }

  override async *read(source: StoredRef, range: ByteRange, options?: WorkOptions): AsyncIterable<Uint8Array> {
    for await (const block of this.inner.read(source, range, options)) {
      this.#mayFail("read", "before");
      yield block;
    }
  }

  override async *list(): AsyncIterable<StoredDisk> {
    for await (const disk of this.inner.list()) {
      this.#mayFail("list", "before");
      yield disk;
    }
  }

  #mayFail(name: Call["name"], when: "before" | "after"): void {
    const { random, rate, spare = [] } = this.#options;
    if (spare.includes(name) || random() >= rate) return;
    throw new AppError("pool_unavailable", `a planted fault ${when} ${name}()`);
  }
}
