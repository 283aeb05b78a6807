/** One holder at a time for each key, in the order of asking. */
export class KeyedLocks {
  readonly #tails = new Map<string, Promise<void>>();

  /** Waits until the key is free; `await using lock = await locks.take(key)` gives it back at the end of the block. */
  async take(key: string): Promise<AsyncDisposable> {
    const before = this.#tails.get(key);
    const mine = Promise.withResolvers<void>();
    this.#tails.set(key, mine.promise);
    await before;
    return {
      [Symbol.asyncDispose]: async () => {
        if (this.#tails.get(key) === mine.promise) this.#tails.delete(key);
        mine.resolve();
      },
    };
  }
}
