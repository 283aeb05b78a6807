import { setTimeout as delay } from "node:timers/promises";
import type { BlockNode } from "#/domain/block-node.ts";
import { throwIfCancelled } from "#/domain/cancel.ts";
import { AppError } from "#/domain/errors.ts";
import { SECOND_MS } from "#/lib/units.ts";
import { convert, info, resize } from "#/tools/qemu-img.ts";
import type { CallOptions, CopyOptions } from "#/vm/call-options.ts";
import type {
  AgentCommand,
  DiskStats,
  Frozen,
  GuestEvent,
  GuestStat,
  GuestSummary,
  HostFacts,
  HypervisorDriver,
} from "#/vm/driver.ts";
import type { GuestDisk, GuestSpec } from "#/vm/guest.ts";
import type { BackupRequest, BackupView, MirrorOptions, PreparedBackup } from "#/vm/backup.ts";
import { tailOf } from "#/vm/console-log.ts";
import { beginBackup, beginMirror, diskOf, endBackup, endMirror, requireUnread, withoutChanges } from "#/vm/memory/backups.ts";
import type { MemoryGuest } from "#/vm/memory/guest.ts";
import { agentConnected, isActive, MemoryHost } from "#/vm/memory/host.ts";

/** Limits of the twin, where a call has none of its own. */
const LIMITS = { agentTimeoutMs: 5 * SECOND_MS, detachTimeoutMs: 5 * SECOND_MS };

/** Guests in the memory of this process: for tests, for a laptop without libvirt, and to learn what a driver must do. */
export class MemoryHypervisor implements HypervisorDriver {
  readonly kind = "memory";
  readonly #host: MemoryHost;
  readonly #unsubscribes = new Set<() => void>();

  constructor(host = new MemoryHost()) {
    this.#host = host;
  }

  facts(options?: CallOptions): Promise<HostFacts> {
    return this.#call("facts", undefined, options, () => this.#host.facts);
  }

  list(options?: CallOptions): Promise<GuestSummary[]> {
    return this.#call("list", undefined, options, () => [...this.#host.guests.values()].map(summary));
  }

  stat(id: string, options?: CallOptions): Promise<GuestStat | undefined> {
    return this.#call("stat", id, options, () => {
      const guest = this.#host.guests.get(id);
      return guest && stat(guest);
    });
  }

  define(spec: GuestSpec, options?: CallOptions): Promise<void> {
    return this.#call("define", spec.id, options, () => {
      requireDistinctTargets(spec);
      const known = this.#host.guests.get(spec.id);
      if (known) known.config = spec;
      else this.#host.guests.set(spec.id, newGuest(spec));
    });
  }

  undefine(id: string, options?: CallOptions): Promise<void> {
    return this.#call("undefine", id, options, () => {
      const guest = this.#host.guests.get(id);
      if (guest && isActive(guest)) throw new AppError("conflict", `guest ${id} runs`);
      this.#host.guests.delete(id);
    });
  }

  start(id: string, options?: CallOptions): Promise<void> {
    return this.#call("start", id, options, async () => {
      const guest = this.#host.get(id);
      if (isActive(guest)) return;
      if (!guest.saved) await this.#host.boot(guest);
      else guest.live = guest.config.disks;
      this.#host.change(guest, guest.saved ?? "running", guest.saved ? "restored" : "booted");
      guest.saved = undefined;
    });
  }

  shutdown(id: string, options?: CallOptions): Promise<void> {
    return this.#call("shutdown", id, options, () => {
      const guest = this.#host.get(id);
      if (guest.state === "paused") throw new AppError("conflict", `guest ${id} is paused`);
      if (isActive(guest) && guest.listens) this.#host.stop(guest, "shutoff", "shutdown");
    });
  }

  destroy(id: string, options?: CallOptions): Promise<void> {
    return this.#call("destroy", id, options, () => {
      const guest = this.#host.guests.get(id);
      if (guest && isActive(guest)) this.#host.stop(guest, "shutoff", "destroyed");
    });
  }

  reboot(id: string, options?: CallOptions): Promise<void> {
    return this.#call("reboot", id, options, async () => {
      const guest = this.#active(id);
      if (guest.listens && guest.state === "running") await this.#restart(guest);
    });
  }

  reset(id: string, options?: CallOptions): Promise<void> {
    return this.#call("reset", id, options, () => this.#restart(this.#active(id)));
  }

  pause(id: string, options?: CallOptions): Promise<void> {
    return this.#call("pause", id, options, () => {
      const guest = this.#active(id);
      if (guest.state === "running") this.#host.change(guest, "paused", "user");
    });
  }

  resume(id: string, options?: CallOptions): Promise<void> {
    return this.#call("resume", id, options, () => {
      const guest = this.#active(id);
      if (guest.state === "paused") this.#host.change(guest, "running", "unpaused");
    });
  }

  save(id: string, options?: CallOptions): Promise<void> {
    return this.#call("save", id, options, () => {
      const guest = this.#host.get(id);
      if (guest.saved) return;
      requireUnread(this.#active(id));
      guest.saved = guest.state === "paused" ? "paused" : "running";
      this.#host.stop(guest, "suspended", "saved");
    });
  }

  discardSaved(id: string, options?: CallOptions): Promise<void> {
    return this.#call("discardSaved", id, options, () => {
      const guest = this.#host.guests.get(id);
      if (!guest?.saved) return;
      guest.saved = undefined;
      guest.state = "shutoff";
    });
  }

  attachDisk(id: string, disk: GuestDisk, options?: CallOptions): Promise<void> {
    return this.#call("attachDisk", id, options, async () => {
      const guest = this.#unsaved(id);
      const present = [...(guest.live ?? []), ...guest.config.disks].filter(({ target }) => target === disk.target);
      for (const other of present) requireSame(other, disk);
      const added = { ...disk, bootOrder: undefined };
      if (guest.live && !has(guest.live, disk.target)) {
        await this.#host.claim(guest, added);
        this.#unsaved(id);
        if (guest.live) guest.live = [...guest.live, added];
      }
      if (!has(guest.config.disks, disk.target)) guest.config = { ...guest.config, disks: [...guest.config.disks, added] };
    });
  }

  detachDisk(id: string, target: string, options: CallOptions = {}): Promise<void> {
    return this.#call("detachDisk", id, options, async () => {
      const guest = this.#unsaved(id);
      const without = (disks: readonly GuestDisk[]) => disks.filter((disk) => disk.target !== target);
      if (guest.live && has(guest.live, target)) {
        requireUnread(guest, target);
        if (!guest.listens || guest.state === "paused") await this.#waitInVain(`guest ${id} does not let go of disk ${target}`, options);
        guest.live = without(guest.live);
        this.#host.emit({ kind: "disk_detached", id, target });
      }
      guest.config = { ...guest.config, disks: without(guest.config.disks) };
    });
  }

  resizeDisk(id: string, target: string, sizeBytes: number, options?: CallOptions): Promise<void> {
    return this.#call("resizeDisk", id, options, async () => {
      const guest = this.#active(id);
      const { node } = diskOf(guest, target);
      requireUnread(guest, target);
      const { virtualSizeBytes } = await info(node);
      if (virtualSizeBytes > sizeBytes) throw new AppError("conflict", `disk ${target} has ${virtualSizeBytes} bytes, and cannot shrink to ${sizeBytes}`);
      if (virtualSizeBytes < sizeBytes) await resize(node, sizeBytes);
    });
  }

  replaceDisk(id: string, target: string, disk: GuestDisk, { signal, onProgress, bytesPerSecondMax, ...options }: CopyOptions = {}): Promise<void> {
    return this.#call("replaceDisk", id, { ...options, signal }, async () => {
      const guest = this.#active(id);
      const now = diskOf(guest, target);
      if (!isSameDisk(now, disk)) {
        requireUnread(guest, target);
        await this.#host.claim(guest, disk);
        await convert(now.node, disk.node, { signal, onProgress, bytesPerSecondMax });
      }
      const replaced = (disks: readonly GuestDisk[]) => disks.map((other) => (other.target === target ? { ...other, node: disk.node } : other));
      guest.live = replaced(guest.live ?? []);
      guest.config = { ...guest.config, disks: replaced(guest.config.disks) };
      onProgress?.(1);
      this.#host.emit({ kind: "block_job", id, target, status: "completed" });
    });
  }

  beginBackup(id: string, backup: BackupRequest, options?: CallOptions): Promise<BackupView[]> {
    return this.#call("beginBackup", id, options, () => beginBackup(this.#active(id), backup));
  }

  prepareBackup(id: string, backup: BackupRequest, options?: CallOptions): Promise<PreparedBackup> {
    return this.#call("prepareBackup", id, options, () => {
      for (const { target } of backup.disks) diskOf(this.#active(id), target);
      return async (limits) => void (await this.beginBackup(id, backup, limits));
    });
  }

  findBackup(id: string, options?: CallOptions): Promise<BackupView[] | undefined> {
    return this.#call("findBackup", id, options, () => this.#host.guests.get(id)?.backup?.views.map(withoutChanges));
  }

  endBackup(id: string, options?: CallOptions): Promise<void> {
    return this.#call("endBackup", id, options, () => endBackup(this.#host.guests.get(id)));
  }

  listCheckpoints(id: string, options?: CallOptions): Promise<string[]> {
    return this.#call("listCheckpoints", id, options, () => [...this.#host.get(id).checkpoints.keys()]);
  }

  deleteCheckpoint(id: string, name: string, options?: CallOptions): Promise<void> {
    return this.#call("deleteCheckpoint", id, options, () => {
      const guest = this.#host.guests.get(id);
      if (!guest?.checkpoints.has(name)) return;
      this.#active(id).checkpoints.delete(name);
    });
  }

  mirrorDisk(id: string, target: string, node: BlockNode, { onProgress, ...options }: MirrorOptions): Promise<void> {
    return this.#call("mirrorDisk", id, options, async () => {
      if (this.#active(id).outruns) await waitToFail(new AppError("timed_out", `guest ${id} writes faster than disk ${target} is copied`), { ...options, timeoutMs: options.stallMsMax });
      await beginMirror(this.#active(id), target, node, options);
      onProgress?.(1);
      this.#host.emit({ kind: "block_job", id, target, status: "ready" });
    });
  }

  endMirror(id: string, target: string, options?: CallOptions): Promise<void> {
    return this.#call("endMirror", id, options, async () => {
      if (await endMirror(this.#host.guests.get(id), target)) this.#host.emit({ kind: "block_job", id, target, status: "cancelled" });
    });
  }

  diskStats(id: string, target: string, options?: CallOptions): Promise<DiskStats> {
    return this.#call("diskStats", id, options, async () => {
      const guest = this.#active(id);
      const { virtualSizeBytes } = await info(diskOf(guest, target).node);
      const writtenBytes = guest.written.get(target) ?? 0;
      return { readBytes: 0, readCount: 0, writtenBytes, writeCount: Math.ceil(writtenBytes / 4096), sizeBytes: virtualSizeBytes };
    });
  }

  consoleTail(id: string, bytesMax: number, options?: CallOptions): Promise<string> {
    return this.#call("consoleTail", id, options, () => tailOf(this.#host.get(id).config.consoleLogPath, bytesMax));
  }

  agent(id: string, command: AgentCommand, options: CallOptions = {}): Promise<unknown> {
    return this.#call("agent", id, options, async () => this.#host.answer(await this.#listeningAgent(id, options), command));
  }

  freeze(id: string, options: CallOptions = {}): Promise<Frozen> {
    return this.#call("freeze", id, options, async () => {
      const guest = await this.#listeningAgent(id, options);
      const sinceMs = performance.now();
      guest.frozen = true;
      return { fileSystems: 1, sinceMs };
    });
  }

  thaw(id: string, options: CallOptions = {}): Promise<void> {
    return this.#call("thaw", id, options, async () => {
      const guest = await this.#listeningAgent(id, options);
      guest.frozen = false;
    });
  }

  setUserPassword(id: string, user: string, password: string, options: CallOptions = {}): Promise<void> {
    return this.#call("setUserPassword", id, options, async () => {
      if (!user || !password) throw new AppError("agent_unavailable", "a user and a password are needed");
      await this.#listeningAgent(id, options);
    });
  }

  subscribe(listener: (event: GuestEvent) => void): () => void {
    const unsubscribe = this.#host.subscribe(listener);
    this.#unsubscribes.add(unsubscribe);
    return () => {
      unsubscribe();
      this.#unsubscribes.delete(unsubscribe);
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const unsubscribe of this.#unsubscribes) unsubscribe();
    this.#unsubscribes.clear();
  }

  async #call<Result>(method: string, id: string | undefined, { signal }: CallOptions = {}, work: () => Result | Promise<Result>): Promise<Result> {
    throwIfCancelled(signal);
    return this.#host.serve(async () => {
      await this.#host.hooks.before?.(method, id);
      const result = await work();
      await this.#host.hooks.after?.(method, id);
      return result;
    });
  }

  async #restart(guest: MemoryGuest): Promise<void> {
    const disks = guest.live;
    if (agentConnected(guest)) for (const connected of [false, true]) this.#host.emit({ kind: "agent", id: guest.config.id, connected });
    await this.#host.boot(guest);
    guest.live = disks;
    this.#host.change(guest, "running", "booted");
  }

  #active(id: string): MemoryGuest {
    const guest = this.#host.get(id);
    if (!isActive(guest)) throw new AppError("conflict", `guest ${id} does not run`);
    return guest;
  }

  /** Saved memory knows its disks: they must not change under it. */
  #unsaved(id: string): MemoryGuest {
    const guest = this.#host.get(id);
    if (guest.saved) throw new AppError("conflict", `guest ${id} is suspended: its saved memory knows its disks`);
    return guest;
  }

  async #listeningAgent(id: string, options: CallOptions): Promise<MemoryGuest> {
    const guest = this.#active(id);
    if (guest.state === "paused") throw new AppError("conflict", `guest ${id} is paused`);
    if (!agentConnected(guest)) throw new AppError("agent_unavailable", `guest ${id} has no agent`);
    if (!guest.agentHangs) return guest;
    const { signal, timeoutMs = LIMITS.agentTimeoutMs } = options;
    await waitFor(timeoutMs, signal);
    throw new AppError("agent_unavailable", `the agent of guest ${id} did not answer within ${timeoutMs} ms`);
  }

  async #waitInVain(because: string, { signal, timeoutMs = LIMITS.detachTimeoutMs }: CallOptions): Promise<never> {
    return waitToFail(new AppError("conflict", `${because} within ${timeoutMs} ms`), { signal, timeoutMs });
  }
}

async function waitToFail(error: AppError, { signal, timeoutMs = 0 }: CallOptions): Promise<never> {
  await waitFor(timeoutMs, signal);
  throw error;
}

async function waitFor(timeoutMs: number, signal: AbortSignal | undefined): Promise<void> {
  await delay(timeoutMs, undefined, { signal }).catch(() => throwIfCancelled(signal));
}

function newGuest(config: GuestSpec): MemoryGuest {
  const off = { live: undefined, state: "shutoff", reason: "unknown", saved: undefined, frozen: false, bootCount: 0 } as const;
  return { config, ...off, agentHangs: false, listens: true, outruns: false, written: new Map(), backup: undefined, checkpoints: new Map(), mirrors: new Map() };
}

function summary({ config, state, reason }: MemoryGuest): GuestSummary {
  return { id: config.id, state, reason };
}

function stat(guest: MemoryGuest): GuestStat {
  const { title, memoryBytes, vcpuCount, disks } = guest.config;
  const shown = (guest.live ?? disks).map(({ target, serial }) => ({ target, serial }));
  const { backup, mirrors } = guest;
  const open = { ...(backup && { backup: { name: backup.name } }), mirrored: [...mirrors.keys()] };
  return { ...summary(guest), title, memoryBytes, vcpuCount, disks: shown, agentConnected: agentConnected(guest), ...open };
}

function has(disks: readonly GuestDisk[], target: string): boolean {
  return disks.some((disk) => disk.target === target);
}

function isSameDisk(a: GuestDisk, b: GuestDisk): boolean {
  return JSON.stringify(a.node) === JSON.stringify(b.node);
}

function requireSame(present: GuestDisk, wanted: GuestDisk): void {
  if (!isSameDisk(present, wanted)) throw new AppError("conflict", `target ${wanted.target} is taken by another disk`);
}

function requireDistinctTargets({ disks }: GuestSpec): void {
  const targets = disks.map(({ target }) => target);
  const twice = targets.find((target, i) => targets.indexOf(target) < i);
  if (twice) throw new AppError("tool_failed", `target ${twice} is used twice`);
}
