import { setTimeout as delay } from "node:timers/promises";
import type { Log } from "#/lib/log.ts";
import type { GuestEvent } from "#/vm/driver.ts";
import { Connection, type ConnectionOptions } from "#/vm/libvirt/connection.ts";
import { readEvent } from "#/vm/libvirt/events.ts";
import { CALLS, EVENTS } from "#/vm/libvirt/protocol.ts";
import { XdrWriter } from "#/vm/libvirt/xdr.ts";

export interface EventStreamOptions {
  readonly connection: ConnectionOptions;
  readonly reconnectDelayMsMax: number;
  readonly log: Log;
}

const FIRST_DELAY_MS = 100;

/** The events of libvirtd, on a connection of their own that is opened again, with growing pauses, whenever it ends. Begins with the first listener. */
export class EventStream implements AsyncDisposable {
  readonly #options: EventStreamOptions;
  readonly #listeners = new Set<(event: GuestEvent) => void>();
  readonly #stop = new AbortController();
  #isConnected = false;
  #running: Promise<void> | undefined;

  constructor(options: EventStreamOptions) {
    this.#options = options;
  }

  subscribe(listener: (event: GuestEvent) => void): () => void {
    this.#listeners.add(listener);
    if (this.#isConnected) queueMicrotask(() => listener({ kind: "connected" }));
    this.#running ??= this.#run();
    return () => void this.#listeners.delete(listener);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listeners.clear();
    this.#stop.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    let delayMs = 0;
    while (!signal.aborted) {
      const began = performance.now();
      await this.#listen().catch((error: Error) => {
        if (!signal.aborted) this.#options.log.warn({ error: error.message, retryMs: delayMs }, "hypervisor events are lost");
      });
      const wasUp = performance.now() - began > this.#options.reconnectDelayMsMax;
      delayMs = wasUp ? FIRST_DELAY_MS : Math.min(this.#options.reconnectDelayMsMax, Math.max(FIRST_DELAY_MS, 2 * delayMs));
      await delay(delayMs, undefined, { signal }).catch(() => {});
    }
  }

  /** Until the connection ends, and then rejects with the reason. */
  async #listen(): Promise<never> {
    const { signal } = this.#stop;
    const onEvent = (procedure: number, body: Parameters<typeof readEvent>[1]) => {
      const event = readEvent(procedure, body);
      if (event) this.#tell(event);
    };
    const connection = await Connection.open({ ...this.#options.connection, onEvent }, { signal });
    const close = () => connection.close();
    signal.addEventListener("abort", close);
    try {
      for (const { id } of Object.values(EVENTS)) await connection.call(CALLS.registerEvent, new XdrWriter().int(id).int(0));
      this.#isConnected = true;
      this.#tell({ kind: "connected" });
      throw await connection.closed;
    } finally {
      this.#isConnected = false;
      signal.removeEventListener("abort", close);
      connection.close();
    }
  }

  #tell(event: GuestEvent): void {
    for (const listener of this.#listeners) {
      try {
        listener(event);
      } catch (err) {
        this.#options.log.error({ err, event: event.kind }, "a listener to the hypervisor failed");
      }
    }
  }
}
