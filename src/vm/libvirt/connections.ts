import { AppError } from "#/domain/errors.ts";
import { throwIfCancelled } from "#/domain/cancel.ts";
import { Semaphore } from "#/lib/semaphore.ts";
import { CALLS_AT_ONCE, Connection, type ConnectionOptions, type LimitedCall } from "#/vm/libvirt/connection.ts";
import type { Procedure } from "#/vm/libvirt/protocol.ts";
import type { XdrReader, XdrWriter } from "#/vm/libvirt/xdr.ts";

export interface ConnectionsOptions extends ConnectionOptions {
  readonly connectionsMax: number;
}

/**
 * As many connections to libvirtd as there are calls under way, up to a limit; each is opened when one is needed, so that a
 * daemon that died and came back is found by the next call. Callers beyond the limit wait for their turn, within the time limit of their call.
 */
export class Connections implements Disposable {
  readonly #options: ConnectionsOptions;
  readonly #turns: Semaphore;
  readonly #open = new Set<Connection>();
  #opening: Promise<void> | undefined;
  #isClosed = false;

  constructor(options: ConnectionsOptions) {
    this.#options = options;
    this.#turns = new Semaphore(options.connectionsMax * CALLS_AT_ONCE);
  }

  /** Errors: as of a connection's call; `tool_timed_out` also where none had room in time. */
  async call(procedure: Procedure, args: XdrWriter, { signal, timeoutMs = this.#options.callTimeoutMs }: LimitedCall = {}): Promise<XdrReader> {
    const dueMs = performance.now() + timeoutMs;
    const ended = AbortSignal.any([AbortSignal.timeout(timeoutMs), ...(signal ? [signal] : [])]);
    using _turn = await this.#turns.take(ended).catch(() => giveUp(signal, timeoutMs));
    for (;;) {
      const free = this.#open.values().find(({ hasRoom }) => hasRoom);
      // Room is taken in the same breath as it is found: many may be waiting for the same connection to be opened.
      if (free) return await free.call(procedure, args, { signal, timeoutMs: Math.max(1, dueMs - performance.now()) });
      if (this.#isClosed) throw new AppError("hypervisor_unavailable", "the driver was closed");
      this.#opening ??= this.#openOne();
      await Promise.race([this.#opening, untilSet(ended).then(() => giveUp(signal, timeoutMs))]);
    }
  }

  [Symbol.dispose](): void {
    this.#isClosed = true;
    for (const connection of this.#open) connection.close();
  }

  async #openOne(): Promise<void> {
    try {
      const connection = await Connection.open(this.#options);
      this.#open.add(connection);
      void connection.closed.then(() => this.#open.delete(connection));
      if (this.#isClosed) connection.close();
    } finally {
      this.#opening = undefined;
    }
  }
}

function giveUp(signal: AbortSignal | undefined, timeoutMs: number): never {
  throwIfCancelled(signal);
  throw new AppError("tool_timed_out", `no connection to libvirtd had room within ${timeoutMs} ms`);
}

async function untilSet(signal: AbortSignal): Promise<void> {
  if (!signal.aborted) await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
}
