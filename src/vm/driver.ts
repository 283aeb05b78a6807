import type { GuestBackups } from "#/vm/backup.ts";
import type { GuestDisk, GuestSpec } from "#/vm/guest.ts";
import type { CallOptions, CopyOptions } from "#/vm/call-options.ts";

/** How many file systems of a guest are frozen, at least, and when its agent was told to freeze them (`performance.now()`): this call froze none before. */
export interface Frozen {
  readonly fileSystems: number;
  readonly sinceMs: number;
}

/**
 * A hypervisor driver runs guests on one host.
 *
 * What holds for every method, and is checked for every driver by `contract.ts`:
 * - it throws only `AppError`, with the hypervisor's own error as `cause`;
 * - it may be repeated after a crash: asking for what is so already succeeds;
 * - it ends within its time limit, or when `signal` is set (`cancelled`). The hypervisor cannot be told to give up: a call that nobody
 *   waits for any more may still take effect, so look (`stat`) before going another way;
 * - while the hypervisor does not answer it fails with `hypervisor_unavailable`, and succeeds again, without being opened anew, once it answers;
 * - for a guest that is not defined it fails with `not_found`, unless it says otherwise.
 *
 * Guests are persistent: they outlive this process and the hypervisor's own daemon. Calls about one guest are to come one after the other; sagas
 * see to that. Methods with a disk's target expect it as in `GuestDisk`.
 */
export interface HypervisorDriver extends GuestBackups, AsyncDisposable {
  readonly kind: "libvirt" | "memory";

  /** What the host is and has, asked anew. */
  facts(options?: CallOptions): Promise<HostFacts>;

  /** Every guest that this installation has defined here, running or not, in any order. The audit compares it with the records. */
  list(options?: CallOptions): Promise<GuestSummary[]>;

  /** How the guest is now; undefined where it is not defined. */
  stat(id: string, options?: CallOptions): Promise<GuestStat | undefined>;

  /**
   * Makes the guest known, or replaces what is known of it. A running guest goes on as it is: its new hardware comes with the next start. Starts nothing, opens no disk.
   */
  define(spec: GuestSpec, options?: CallOptions): Promise<void>;

  /** Forgets a guest that does not run, and its saved memory; `conflict` while it runs. Gone already is fine. Its disks stay. */
  undefine(id: string, options?: CallOptions): Promise<void>;

  /** Runs the guest: where its memory was saved, from there. Fine where it runs already, also paused. */
  start(id: string, options?: CallOptions): Promise<void>;

  /** Asks the guest to shut down, and does not wait: it may not listen (`stopGuest` does both). Fine where it does not run; `conflict` while paused. */
  shutdown(id: string, options?: CallOptions): Promise<void>;

  /** Pulls the plug. Fine where it does not run, or is not defined. A saved memory stays. */
  destroy(id: string, options?: CallOptions): Promise<void>;

  /** Asks the guest to restart, and does not wait. `conflict` where it does not run. */
  reboot(id: string, options?: CallOptions): Promise<void>;

  /** The reset button: restarts the guest at once, also a paused one, with the hardware that it has. `conflict` where it does not run. */
  reset(id: string, options?: CallOptions): Promise<void>;

  /** Stops the processors. `conflict` where it does not run. */
  pause(id: string, options?: CallOptions): Promise<void>;
  /** Lets a paused guest go on, also one that an I/O error stopped. Fine where it runs; `conflict` where it does not. */
  resume(id: string, options?: CallOptions): Promise<void>;

  /** Saves the memory to the host's disk and stops the guest; `start` goes on from there, running, or paused where it was. Fine where it is saved; `conflict` where it does not run. Cancelled, it is over when the call ends: the guest is as it was, or saved. */
  save(id: string, options?: CallOptions): Promise<void>;
  /** Throws saved memory away: the next start boots. Fine where there is none, or no guest. */
  discardSaved(id: string, options?: CallOptions): Promise<void>;

  /** Adds a disk, to the running guest too. Fine where the same disk is there; `conflict` where another has its target. `bootOrder` is left out. */
  attachDisk(id: string, disk: GuestDisk, options?: CallOptions): Promise<void>;

  /**
   * Takes a disk away. A running guest must let go of it, which it is asked for again and again until the limit
   * (`timeoutMs`, or the configured one): then it is `conflict`, and the disk is still attached. Fine where it is gone.
   */
  detachDisk(id: string, target: string, options?: CallOptions): Promise<void>;

  /**
   * Has a running guest see a larger disk. QEMU grows a file, an overlay or an RBD image by itself; a device must have grown before. `conflict` where the guest does
   * not run (grow the disk itself then) or the disk would shrink.
   */
  resizeDisk(id: string, target: string, sizeBytes: number, options?: CallOptions): Promise<void>;

  /**
   * Moves a running guest to another disk of the same size while it writes: copies, and switches once they are equal. `node` must exist, and is
   * overwritten. A repeated call goes on with a copy that is under way, and is fine where the guest is on it already. Cancelled, or failed, the guest stays where it was.
   */
  replaceDisk(id: string, target: string, disk: GuestDisk, options?: CopyOptions): Promise<void>;

  /** What a running guest's disk has done since it started, and its size; `conflict` where it does not run. */
  diskStats(id: string, target: string, options?: CallOptions): Promise<DiskStats>;

  /** The last bytes of the console's log as text; empty where there is none yet. */
  consoleTail(id: string, bytesMax: number, options?: CallOptions): Promise<string>;

  /** Has the agent in the guest do something (QEMU guest agent protocol); returns what it says. `agent_unavailable` where it is not there, hangs or refuses; `conflict` where the guest does not run, or is paused. */
  agent(id: string, command: AgentCommand, options?: CallOptions): Promise<unknown>;

  /** Has the guest write its file systems out and hold all writes. Fine where they are frozen. Errors as for `agent`. Whoever freezes must thaw, also when this fails: a slow guest may freeze after its limit. */
  freeze(id: string, options?: CallOptions): Promise<Frozen>;
  /** Lets writes go on. Fine where nothing is frozen. Errors as for `agent`. */
  thaw(id: string, options?: CallOptions): Promise<void>;

  /** Changes a user's password in the running guest, by its agent. The password reaches no log. */
  setUserPassword(id: string, user: string, password: string, options?: CallOptions): Promise<void>;

  /**
   * Calls the listener at each event of a guest of Mica's, until the returned function is called. Events come from the first `connected` on, and are lost while the
   * hypervisor is away: after each `connected`, look at the guests that you care about. Guests of other installations may be among them. A listener must not throw.
   */
  subscribe(listener: (event: GuestEvent) => void): () => void;
}

export interface HostFacts {
  readonly hostname: string;
  /** As libvirt and QEMU call it: `x86_64`, `aarch64`. */
  readonly architecture: string;
  readonly vcpuCount: number;
  readonly memoryBytes: number;
  /** `QEMU`, or `memory` for the twin. */
  readonly hypervisorType: string;
  /** As a number: 7.2.18 is 7002018, as in Nova's `hypervisor_version`. */
  readonly hypervisorVersion: number;
  readonly libraryVersion: number;
  /** `kvm` only where it really works: libvirt advertises it also where it does not. */
  readonly virtType: "kvm" | "qemu";
  /** Why it is not `kvm`, in words. */
  readonly virtTypeReason?: string | undefined;
}

/**
 * `suspended`: it does not run, and its memory is saved. `crashed`: QEMU ended by itself or was killed, or the guest panicked. `shutoff`: it does not run, for any other reason.
 */
export const GUEST_STATES = ["running", "paused", "shutoff", "crashed", "suspended"] as const;
export type GuestState = (typeof GUEST_STATES)[number];

export interface GuestSummary {
  readonly id: string;
  readonly state: GuestState;
  /** In libvirt's words: `booted`, `restored`, `user`, `io_error`, `shutdown`, `destroyed`, `crashed`, `saved`, … */
  readonly reason: string;
}

export interface GuestStat extends GuestSummary {
  readonly title: string;
  readonly memoryBytes: number;
  readonly vcpuCount: number;
  /** As a running guest has them now; else as it will have them. */
  readonly disks: readonly AttachedDisk[];
  /** Whether the agent in the guest has its port open; it may hang nevertheless. */
  readonly agentConnected: boolean;
  /** The backup whose views are open; its name is empty where it is not Mica's. */
  readonly backup?: { readonly name: string } | undefined;
  /** Targets of the disks that are being copied to another, by `mirrorDisk` or `replaceDisk`. */
  readonly mirrored: readonly string[];
}

export interface AttachedDisk {
  readonly target: string;
  readonly serial?: string | undefined;
}

/** Sums since the guest was started. */
export interface DiskStats {
  readonly readBytes: number;
  readonly readCount: number;
  readonly writtenBytes: number;
  readonly writeCount: number;
  /** What the guest sees. */
  readonly sizeBytes: number;
}

export interface AgentCommand {
  readonly execute: string;
  readonly arguments?: Readonly<Record<string, unknown>> | undefined;
}

export type GuestEvent =
  | { readonly kind: "state"; readonly id: string; readonly state: GuestState; readonly reason: string }
  | { readonly kind: "agent"; readonly id: string; readonly connected: boolean }
  /** A disk could not be read or written; `paused`: the guest was stopped for it, and `resume` tries again. */
  | { readonly kind: "io_error"; readonly id: string; readonly target: string; readonly paused: boolean; readonly reason: string }
  | { readonly kind: "block_job"; readonly id: string; readonly target: string; readonly status: "completed" | "failed" | "cancelled" | "ready" }
  | { readonly kind: "disk_detached"; readonly id: string; readonly target: string }
  /** From here on events come: at first, and whenever the hypervisor was away. */
  | { readonly kind: "connected" };
