/** Lets few tasks run at once, the others wait in order, and no more than a limit of them. */
export class Turns {
  readonly #runningMax: number;
  readonly #waitingMax: number;
  readonly #waiting: (() => void)[] = [];
  #running = 0;

  constructor(runningMax: number, waitingMax: number) {
    this.#runningMax = runningMax;
    this.#waitingMax = waitingMax;
  }

  /** Undefined, and the task never runs, where too many wait already. */
  take<T>(task: () => Promise<T>): Promise<T> | undefined {
    if (this.#waiting.length >= this.#waitingMax) return undefined;
    return this.#run(task);
  }

  async #run<T>(task: () => Promise<T>): Promise<T> {
    if (this.#running >= this.#runningMax) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    else this.#running += 1;
    try {
      return await task();
    } finally {
      const next = this.#waiting.shift();
      if (next)
        next(); // It takes over this place among the running.
      else this.#running -= 1;
    }
  }
}
