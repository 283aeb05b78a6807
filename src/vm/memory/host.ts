import { access, appendFile } from "node:fs/promises";
import { AppError } from "#/domain/errors.ts";
import { filesOf } from "#/tools/qemu-img.ts";
import { MiB } from "#/lib/units.ts";
import type { MemoryGuest } from "#/vm/memory/guest.ts";
import type { AgentCommand, GuestEvent, GuestState, HostFacts } from "#/vm/driver.ts";
import type { GuestDisk } from "#/vm/guest.ts";

/** What tests have happen around each call: throw, to fail; never resolve, to die. */
export interface Hooks {
  before?: (method: string, id: string | undefined) => unknown;
  after?: (method: string, id: string | undefined) => unknown;
}

/**
 * The host of the memory twin: it lives on when a driver is disposed of, as a real host does when Mica restarts. Its guests boot at
 * once, have an agent, and their disks' bytes are where their nodes say: what a guest would refuse, or QEMU, is refused here.
 */
export class MemoryHost {
  readonly guests = new Map<string, MemoryGuest>();
  readonly hooks: Hooks = {};
  readonly facts: HostFacts;
  readonly #listeners = new Set<(event: GuestEvent) => void>();
  #down = Promise.withResolvers<never>();
  #isDown = false;

  constructor(facts: Partial<HostFacts> = {}) {
    this.facts = { ...DEFAULT_FACTS, ...facts };
    this.#down.promise.catch(() => {}); // Nobody may be waiting.
  }

  /** Does work for a caller, who learns nothing more of it when the daemon dies. */
  async serve<Result>(work: () => Promise<Result>): Promise<Result> {
    if (this.#isDown) throw unavailable();
    return Promise.race([work(), this.#down.promise]);
  }

  /** The hypervisor's daemon stops answering; guests run on. */
  goDown(): void {
    this.#isDown = true;
    this.#down.reject(unavailable());
  }

  comeBack(): void {
    this.#isDown = false;
    this.#down = Promise.withResolvers<never>();
    this.#down.promise.catch(() => {});
    this.emit({ kind: "connected" });
  }

  /** QEMU dies, and with it what the guest has not written. */
  crash(id: string): void {
    const guest = this.get(id);
    if (!isActive(guest)) throw new Error(`Broken invariant: guest ${id} does not run`);
    for (const remembered of guest.checkpoints.values()) remembered.clear(); // Bitmaps are written when QEMU ends.
    this.stop(guest, "crashed", "crashed");
  }

  /** The guest's disk cannot be written to: as with `rerror_policy='stop'`. */
  failDisk(id: string, target: string): void {
    const guest = this.get(id);
    this.change(guest, "paused", "io_error");
    this.emit({ kind: "io_error", id, target, paused: true, reason: "" });
  }

  get(id: string): MemoryGuest {
    const guest = this.guests.get(id);
    if (!guest) throw new AppError("not_found", `guest ${id} is not defined`);
    return guest;
  }

  subscribe(listener: (event: GuestEvent) => void): () => void {
    this.#listeners.add(listener);
    setImmediate(() => !this.#isDown && this.#listeners.has(listener) && listener({ kind: "connected" }));
    return () => void this.#listeners.delete(listener);
  }

  /** As from another process: never while the caller still works. */
  emit(event: GuestEvent): void {
    setImmediate(() => {
      if (this.#isDown) return;
      for (const listener of this.#listeners) listener(event);
    });
  }

  change(guest: MemoryGuest, state: GuestState, reason: string): void {
    const agentWas = agentConnected(guest);
    [guest.state, guest.reason] = [state, reason];
    const { id } = guest.config;
    this.emit({ kind: "state", id, state, reason });
    if (agentConnected(guest) !== agentWas) this.emit({ kind: "agent", id, connected: !agentWas });
  }

  async boot(guest: MemoryGuest): Promise<void> {
    const { boot, disks, consoleLogPath } = guest.config;
    const outside = boot.kind === "kernel" ? [boot.kernelPath, ...(boot.ramdiskPath ? [boot.ramdiskPath] : [])] : [];
    for (const path of outside) await mustBeThere(path);
    for (const disk of disks) await this.claim(guest, disk);
    guest.live = disks;
    guest.written.clear();
    guest.frozen = false;
    guest.bootCount += 1;
    await appendFile(consoleLogPath, `GUEST-READY boot=${guest.bootCount}\r\n`).catch((cause: Error) => {
      throw new AppError("tool_failed", `QEMU cannot write ${consoleLogPath}: ${cause.message}`, { cause });
    });
  }

  /** What QEMU does when it opens a disk: its files must be there, and no other guest may have it open for writing. */
  async claim(guest: MemoryGuest, disk: GuestDisk): Promise<void> {
    for (const path of filesOf(disk.node)) await mustBeThere(path);
    const isSame = (other: GuestDisk) => JSON.stringify(other.node) === JSON.stringify(disk.node);
    const isFree = (other: GuestDisk) => (disk.shareable && other.shareable) || (disk.readOnly && other.readOnly);
    for (const other of this.guests.values()) {
      const taken = other !== guest && other.live?.some((theirs) => isSame(theirs) && !isFree(theirs));
      if (taken) throw new AppError("conflict", `disk ${disk.target} is open in guest ${other.config.id}: failed to get "write" lock`);
    }
  }

  stop(guest: MemoryGuest, state: GuestState, reason: string): void {
    guest.live = undefined;
    guest.frozen = false;
    guest.backup = undefined;
    guest.mirrors.clear();
    this.change(guest, state, reason);
  }

  /** What the agent in the guest answers. */
  answer(guest: MemoryGuest, { execute, arguments: args = {} }: AgentCommand): unknown {
    switch (execute) {
      case "guest-ping":
      case "guest-set-user-password":
        return {};
      case "guest-sync":
        return args.id;
      case "guest-get-host-name":
        return { "host-name": "guest" };
      case "guest-fsfreeze-status":
        return guest.frozen ? "frozen" : "thawed";
      default:
        throw new AppError("agent_unavailable", `the agent does not know ${execute}`);
    }
  }
}

export function isActive({ state }: MemoryGuest): boolean {
  return state === "running" || state === "paused";
}

export function agentConnected(guest: MemoryGuest): boolean {
  return isActive(guest) && guest.config.guestAgent;
}

function unavailable(): AppError {
  return new AppError("hypervisor_unavailable", "the hypervisor of the memory twin is down");
}

async function mustBeThere(path: string): Promise<void> {
  await access(path).catch((cause: Error) => {
    throw new AppError("tool_failed", `QEMU cannot open ${path}: ${cause.message}`, { cause });
  });
}

const DEFAULT_FACTS: HostFacts = {
  hostname: "memory",
  architecture: "x86_64",
  vcpuCount: 8,
  memoryBytes: 16 * 1024 * MiB,
  hypervisorType: "memory",
  hypervisorVersion: 1_000_000,
  libraryVersion: 1_000_000,
  virtType: "qemu",
  virtTypeReason: "nothing runs here",
};
