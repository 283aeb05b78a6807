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

  async call(procedure: Procedure, args: XdrWriter, { signal, timeoutMs = this.#options.callTimeoutMs }: LimitedCall = {}): Promise<XdrReader> {
    const dueMs = performance.now() + timeoutMs;
    using _turn = await this.#turn(timeoutMs, signal);
    for (;;) {
      const free = this.#open.values().find(({ hasRoom }) => hasRoom);
      // Room is taken in the same breath as it is found: many may be waiting for the same connection to be opened.
      if (free) return await free.call(procedure, args, { signal, timeoutMs: Math.max(1, dueMs - performance.now()) });
      if (this.#isClosed) throw new AppError("hypervisor_unavailable", "the driver was closed");
      await (this.#opening ??= this.#openOne());
    }
  }

  [Symbol.dispose](): void {
    this.#isClosed = true;
    for (const connection of this.#open) connection.close();
  }

  async #turn(timeoutMs: number, signal: AbortSignal | undefined): Promise<Disposable> {
    const due = AbortSignal.timeout(timeoutMs);
    return this.#turns.take(signal ? AbortSignal.any([signal, due]) : due).catch(() => {
      throwIfCancelled(signal);
      throw new AppError("hypervisor_unavailable", `all connections to libvirtd were busy for ${timeoutMs} ms`);
    });
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
