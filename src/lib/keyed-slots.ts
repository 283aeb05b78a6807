import { Semaphore } from "./semaphore.ts";

/** At most so many keys have a slot at once. A key that has one asks in vain for another: what goes on after a crash asks again. */
export class KeyedSlots {
  readonly #semaphore: Semaphore;
  readonly #held = new Map<string, Promise<Disposable>>();

  constructor(count: number) {
    this.#semaphore = new Semaphore(count);
  }

  /** Waits for a slot, unless the key has one. Rejects with the signal's reason when that is set. */
  async take(key: string, signal?: AbortSignal): Promise<void> {
    const taking = this.#held.getOrInsertComputed(key, () => this.#semaphore.take(signal));
    try {
      await taking;
    } catch (error) {
      this.#held.delete(key);
      throw error;
    }
  }

  /** Whether nobody has a slot, or waits for one. */
  get isIdle(): boolean {
    return this.#held.size === 0;
  }

  /** Fine where the key has none. */
  async giveBack(key: string): Promise<void> {
    const slot = await this.#held.get(key);
    this.#held.delete(key);
    slot?.[Symbol.dispose]();
  }
}

/** At most so many keys have a slot at once, 0 for any number, and of each group only one. */
export class GroupedSlots {
  readonly #all: KeyedSlots;
  readonly #groups = new Map<string, KeyedSlots>();

  constructor(count: number) {
    this.#all = new KeyedSlots(count || Number.MAX_SAFE_INTEGER);
  }

  /** As `KeyedSlots.take`. Who waits for its group keeps nobody else waiting. */
  async take(group: string, key: string, signal?: AbortSignal): Promise<void> {
    await this.#groups.getOrInsertComputed(group, () => new KeyedSlots(1)).take(key, signal);
    await this.#all.take(key, signal);
  }

  async giveBack(group: string, key: string): Promise<void> {
    await this.#all.giveBack(key);
    const slots = this.#groups.get(group);
    await slots?.giveBack(key);
    if (slots?.isIdle) this.#groups.delete(group);
  }
}
