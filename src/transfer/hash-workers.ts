import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import { AppError } from "#/domain/errors.ts";
import type { HashAlgorithm, HashAnswer, HashRequest } from "#/transfer/hash-worker.ts";

/** One hash that is being made in a thread of its own. Close it in any case. */
export interface HashStream {
  /** Blocks in shared memory, in order; resolves when the block may change again. Several may be under way. */
  update(block: Uint8Array<SharedArrayBuffer>): Promise<void>;
  /** In hexadecimal, of all blocks so far. */
  digest(): Promise<string>;
  close(): void;
}

/**
 * Threads that hash, so that the event loop does not: started as they are needed, then kept. Each works on several hashes
 * by turns, so that any number of transfers share as many threads as there are processors. They hold the process open only while
 * they are at work.
 */
export class HashWorkers {
  readonly #workersMax: number;
  readonly #script: URL;
  readonly #workers = new Set<HashWorker>();

  constructor({ workersMax = Math.min(availableParallelism(), WORKERS_MAX), script = SCRIPT }: { workersMax?: number; script?: URL } = {}) {
    this.#workersMax = workersMax;
    this.#script = script;
  }

  open(algorithm: HashAlgorithm): HashStream {
    return this.#leastBusy().open(algorithm);
  }

  #leastBusy(): HashWorker {
    let best: HashWorker | undefined;
    for (const worker of this.#workers) if (!best || worker.openCount < best.openCount) best = worker;
    if (best && (best.openCount === 0 || this.#workers.size >= this.#workersMax)) return best;
    const fresh = new HashWorker(this.#script, () => this.#workers.delete(fresh));
    this.#workers.add(fresh);
    return fresh;
  }
}

/** Beyond this, memory is the limit, not processors. */
const WORKERS_MAX = 16;
const SCRIPT = new URL(import.meta.resolve("#/transfer/hash-worker.ts"));

const ofThisProcess = new HashWorkers();

export function openHashStream(algorithm: HashAlgorithm): HashStream {
  return ofThisProcess.open(algorithm);
}

class HashWorker {
  readonly #thread: Worker;
  /** By stream: who waits for its answers, in the order of asking. */
  readonly #streams = new Map<number, PromiseWithResolvers<string>[]>();
  #lastStream = 0;
  #broken: AppError | undefined;

  constructor(script: URL, onBroken: () => void) {
    this.#thread = new Worker(script, { execArgv: [] }); // Flags of the process are not meant for it.
    this.#thread.unref();
    this.#thread.on("message", ({ stream, digest = "" }: HashAnswer) => this.#streams.get(stream)?.shift()?.resolve(digest));
    const fail = (cause: unknown) => {
      onBroken();
      this.#fail(cause);
    };
    this.#thread.on("error", fail);
    this.#thread.on("exit", (code) => fail(new Error(`it ended with exit code ${code}`)));
  }

  get openCount(): number {
    return this.#streams.size;
  }

  open(algorithm: HashAlgorithm): HashStream {
    const stream = ++this.#lastStream;
    if (this.#streams.size === 0) this.#thread.ref();
    this.#streams.set(stream, []);
    this.#post({ stream, kind: "begin", algorithm });
    return {
      update: async (block) => void (await this.#ask({ stream, kind: "block", block })),
      digest: () => this.#ask({ stream, kind: "digest" }),
      close: () => this.#close(stream),
    };
  }

  #ask(request: HashRequest): Promise<string> {
    if (this.#broken) return Promise.reject(this.#broken);
    const answer = Promise.withResolvers<string>();
    this.#streams.get(request.stream)?.push(answer);
    this.#post(request);
    return answer.promise;
  }

  #post(request: HashRequest): void {
    this.#thread.postMessage(request);
  }

  #close(stream: number): void {
    if (!this.#streams.delete(stream)) return;
    this.#post({ stream, kind: "end" });
    if (this.#streams.size === 0) this.#thread.unref();
  }

  /** The thread is gone, and the hashes that it had begun with it. */
  #fail(cause: unknown): void {
    this.#broken ??= new AppError("internal", "A thread that hashes content broke down: what it was hashing must be read again.", { cause });
    for (const waiting of this.#streams.values()) for (const { reject } of waiting.splice(0)) reject(this.#broken);
  }
}
