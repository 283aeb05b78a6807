import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import type { Load, LoadResult } from "./load.ts";

const ANSWER_LIMIT_MS = 60_000;

/** The process that `load.ts` is. One load at a time. */
export class LoadGenerator implements AsyncDisposable {
  readonly #child: ChildProcess = fork(join(import.meta.dirname, "load.ts"));

  /** Throws where a request failed. */
  async run(load: Load): Promise<LoadResult> {
    this.#child.send(load);
    const signal = AbortSignal.timeout(load.durationMs + ANSWER_LIMIT_MS);
    const [result] = (await once(this.#child, "message", { signal })) as [LoadResult];
    if (result.failure) throw new Error(result.failure);
    return result;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGKILL");
  }
}
