import type { AppContext } from "#/app/context.ts";
import type { ServerTable } from "#/db/server-tables.ts";
import { changeServerIn, findServer, updateServer } from "#/db/servers.ts";
import { SECOND_MS } from "#/lib/units.ts";
import { powerStateOf } from "#/saga/power-state.ts";
import type { GuestState } from "#/vm/driver.ts";

/** States that follow the guest by themselves; in others (rescued, resized) only the power state does. */
const FOLLOWING = ["active", "stopped", "paused", "suspended"] as const;
/** How soon a server is looked at again whose guest changed while something was being done to it. */
const LATER_MS = SECOND_MS;

/**
 * Servers follow their guests: one that shuts itself down, crashes, or is stopped behind our back is shown so. nova/compute/manager.py
 * `_sync_power_states` looks every ten minutes; the hypervisor's events say it at once, and after an outage all are looked at.
 */
export class GuestWatcher implements Disposable {
  readonly #context: AppContext;
  readonly #unsubscribe: () => void;
  readonly #later = new Map<string, NodeJS.Timeout>();
  #last: Promise<void> = Promise.resolve();

  constructor(context: AppContext) {
    this.#context = context;
    this.#unsubscribe = context.hypervisor.subscribe((event) => {
      if (event.kind === "state") this.#run(this.follow(event.id, event.state));
      if (event.kind === "connected") this.#run(this.followAll());
    });
    this.#run(this.followAll());
  }

  /**
   * The server is as its guest is; while something is being done to it, that says how it is, and it is looked at afterwards: the guest may have ended by itself behind that. One look comes
   * after the other, and asks how the guest is now: what was `told` may be over.
   */
  follow(id: string, told?: GuestState): Promise<void> {
    const look = this.#last.then(() => this.#look(id, told));
    this.#last = look.catch(() => {});
    return look;
  }

  /** All servers of this host; those that the hypervisor does not know are the audit's business. */
  async followAll(): Promise<void> {
    for (const { id, state } of await this.#context.hypervisor.list()) await this.follow(id, state);
  }

  [Symbol.dispose](): void {
    this.#unsubscribe();
    for (const timer of this.#later.values()) clearTimeout(timer);
  }

  async #look(id: string, told: GuestState | undefined): Promise<void> {
    const { db, hypervisor } = this.#context;
    const server = await findServer(db, id);
    if (!server || (told && isAs(server, told))) return;
    if (server.task_state !== null) return this.#lookLater(id);
    const guest = await hypervisor.stat(id);
    if (guest && !isAs(server, guest.state)) await this.#change(server, guest.state);
  }

  async #change({ id, vm_state: was }: ServerTable, state: GuestState): Promise<void> {
    const { db, clock, log } = this.#context;
    const seen = powerStateOf(state);
    if (isFollowing(was)) await changeServerIn(db, id, { from: FOLLOWING, changes: { ...seen, updated_at: clock.nowMs() } });
    else await updateServer(db, id, { power_state: seen.power_state });
    log.info({ server: id, guest: state, was }, "the server follows its guest");
  }

  #lookLater(id: string): void {
    clearTimeout(this.#later.get(id));
    const look = () => {
      this.#later.delete(id);
      this.#run(this.follow(id));
    };
    this.#later.set(id, setTimeout(look, LATER_MS).unref());
  }

  /** What cannot be followed now is followed when the hypervisor is back. */
  #run(work: Promise<void>): void {
    work.catch((err) => this.#context.log.debug({ err }, "guests cannot be looked at now"));
  }
}

function isAs({ vm_state, power_state }: ServerTable, state: GuestState): boolean {
  const seen = powerStateOf(state);
  return power_state === seen.power_state && (!isFollowing(vm_state) || vm_state === seen.vm_state);
}

function isFollowing(vmState: string): boolean {
  return (FOLLOWING as readonly string[]).includes(vmState);
}
