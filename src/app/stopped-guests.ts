import { setTimeout as delay } from "node:timers/promises";
import type { AppContext } from "#/app/context.ts";
import { devicesOf } from "#/db/block-devices.ts";
import { findDisk } from "#/db/disks.ts";
import { findServer } from "#/db/servers.ts";
import { findVolume } from "#/db/volumes.ts";
import type { BlockDeviceTable } from "#/db/server-tables.ts";
import { diskId, poolName } from "#/domain/ids.ts";
import { SECOND_MS } from "#/lib/units.ts";

/** The first pause before a guest is let go on; each later one is twice as long, since a disk that is broken for good stops it at once again. */
const PAUSE_MS = SECOND_MS / 2;
const PAUSE_MS_MAX = 5 * SECOND_MS;

/**
 * A guest whose disk could not be read or written is stopped by its hypervisor, in the middle of the request. It goes on, and tries that request again, once its pools answer:
 * it has noticed nothing. So it is with a pool on another host whose worker was started anew: libvirt 9.0 has no way to let QEMU itself wait for that.
 */
export class StoppedGuests implements Disposable {
  readonly #context: AppContext;
  readonly #unsubscribe: () => void;
  readonly #ended = new AbortController();
  readonly #waiting = new Set<string>();

  constructor(context: AppContext) {
    this.#context = context;
    this.#unsubscribe = context.hypervisor.subscribe((event) => {
      if (event.kind === "io_error" && event.paused) this.#run(this.#bringBack(event.id));
      if (event.kind === "connected") this.#run(this.#bringAllBack());
    });
    this.#run(this.#bringAllBack());
  }

  [Symbol.dispose](): void {
    this.#unsubscribe();
    this.#ended.abort();
  }

  async #bringAllBack(): Promise<void> {
    for (const { id, state, reason } of await this.#context.hypervisor.list()) if (isStopped({ state, reason })) this.#run(this.#bringBack(id));
  }

  /** Until it runs, or is none of those that wait for their storage any more. */
  async #bringBack(id: string): Promise<void> {
    if (this.#waiting.has(id)) return;
    this.#waiting.add(id);
    for (let [pauseMs, attempt] = [PAUSE_MS, 1]; ; attempt++, pauseMs = Math.min(2 * pauseMs, PAUSE_MS_MAX)) {
      await delay(pauseMs, undefined, { signal: this.#ended.signal, ref: false });
      this.#waiting.delete(id); // Whoever hears from here on that it was stopped may know more than we are told: they take over.
      if (!(await this.#isWaiting(id)) || this.#waiting.has(id)) return;
      this.#waiting.add(id);
      await this.#letGoOn(id, attempt === 1 ? "info" : "debug").catch((err: unknown) => this.#context.log.debug({ err, server: id }, "the guest cannot go on yet"));
    }
  }

  /** Not while something is being done to the server, which may have stopped its guest itself; it may have begun while the pools were asked. */
  async #letGoOn(id: string, level: "info" | "debug"): Promise<void> {
    const { hypervisor, log } = this.#context;
    if (!(await this.#isLeftAlone(id)) || !(await this.#isStorageThere(id))) return;
    if (!(await this.#isWaiting(id)) || !(await this.#isLeftAlone(id))) return;
    log[level]({ server: id }, "the guest goes on: its storage answers"); // Said once: where a pool is full it stops again and again.
    await hypervisor.resume(id);
  }

  async #isWaiting(id: string): Promise<boolean> {
    const guest = await this.#context.hypervisor.stat(id);
    return guest !== undefined && isStopped(guest);
  }

  async #isLeftAlone(id: string): Promise<boolean> {
    const server = await findServer(this.#context.db, id);
    return server?.task_state === null;
  }

  async #isStorageThere(serverId: string): Promise<boolean> {
    const { db, pools } = this.#context;
    const names = await Promise.all((await devicesOf(db, serverId)).map((device) => this.#poolOf(device)));
    const asked = [...new Set(names)].map(async (name) => name === undefined || (await pools.get(poolName(name)).capacity().then(() => true, () => false)));
    return (await Promise.all(asked)).every(Boolean);
  }

  async #poolOf({ disk_id, volume_id }: BlockDeviceTable): Promise<string | undefined> {
    const { db } = this.#context;
    if (disk_id !== null) return (await findDisk(db, diskId(disk_id)))?.pool;
    return volume_id === null ? undefined : (await findVolume(db, volume_id))?.pool;
  }

  /** A hypervisor that is away tells of its guests when it is back. */
  #run(work: Promise<void>): void {
    work.catch((err) => this.#ended.signal.aborted || this.#context.log.debug({ err }, "stopped guests cannot be looked at now"));
  }
}

function isStopped({ state, reason }: { readonly state: string; readonly reason: string }): boolean {
  return state === "paused" && reason === "io_error";
}
