import type { AppContext } from "#/app/context.ts";
import { changeServerIn, findServer, updateServer } from "#/db/servers.ts";
import { powerStateOf } from "#/saga/power-state.ts";
import type { GuestState } from "#/vm/driver.ts";

/** States that follow the guest by themselves; in others (rescued, resized) only the power state does. */
const FOLLOWING = ["active", "stopped", "paused", "suspended"] as const;

/**
 * Servers follow their guests: one that shuts itself down, crashes, or is stopped behind our back is shown so. nova/compute/manager.py
 * `_sync_power_states` looks every ten minutes; the hypervisor's events say it at once, and after an outage all are looked at.
 */
export class GuestWatcher implements Disposable {
  readonly #context: AppContext;
  readonly #unsubscribe: () => void;

  constructor(context: AppContext) {
    this.#context = context;
    this.#unsubscribe = context.hypervisor.subscribe((event) => {
      if (event.kind === "state") this.#run(this.follow(event.id, event.state));
      if (event.kind === "connected") this.#run(this.followAll());
    });
    this.#run(this.followAll());
  }

  /** The server is as its guest is, unless something is being done to it. */
  async follow(id: string, state: GuestState): Promise<void> {
    const { db, clock, log } = this.#context;
    const server = await findServer(db, id);
    if (!server || server.task_state !== null) return;
    const seen = powerStateOf(state);
    if (server.power_state === seen.power_state && (!isFollowing(server.vm_state) || server.vm_state === seen.vm_state)) return;
    const changes = { ...seen, updated_at: clock.nowMs() };
    const followed = await changeServerIn(db, id, { from: FOLLOWING, changes });
    if (!followed) await updateServer(db, id, { power_state: seen.power_state });
    log.info({ server: id, guest: state, was: server.vm_state }, "the server follows its guest");
  }

  /** All servers of this host; those that the hypervisor does not know are the audit's business. */
  async followAll(): Promise<void> {
    for (const { id, state } of await this.#context.hypervisor.list()) await this.follow(id, state);
  }

  [Symbol.dispose](): void {
    this.#unsubscribe();
  }

  /** What cannot be followed now is followed when the hypervisor is back. */
  #run(work: Promise<void>): void {
    work.catch((err) => this.#context.log.debug({ err }, "guests cannot be looked at now"));
  }
}

function isFollowing(vmState: string): boolean {
  return (FOLLOWING as readonly string[]).includes(vmState);
}
