import type { HypervisorConfig } from "#/config/hypervisor.ts";
import type { BlockNode } from "#/domain/block-node.ts";
import { AppError } from "#/domain/errors.ts";
import type { Log } from "#/lib/log.ts";
import type { BackupRequest, BackupView, MirrorOptions, PreparedBackup } from "#/vm/backup.ts";
import { tailOf } from "#/vm/console-log.ts";
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
import { GUEST_NAME_PREFIX, type GuestDisk, guestName, type GuestSpec } from "#/vm/guest.ts";
import { LibvirtCalls, unlessGone } from "#/vm/libvirt/calls.ts";
import { provideCephSecrets } from "#/vm/libvirt/ceph-secrets.ts";
import { Connections } from "#/vm/libvirt/connections.ts";
import { consoleLogOf, readDomainFacts } from "#/vm/libvirt/domain-reading.ts";
import { domainXml, ownerOf } from "#/vm/libvirt/domain-xml.ts";
import { asVmError, ERROR, isLibvirtError } from "#/vm/libvirt/errors.ts";
import { EventStream } from "#/vm/libvirt/event-stream.ts";
import { GuestAgent } from "#/vm/libvirt/guest-agent.ts";
import { LibvirtBackups } from "#/vm/libvirt/guest-backups.ts";
import { GuestDisks } from "#/vm/libvirt/guest-disks.ts";
import { type Acceleration, probeAcceleration } from "#/vm/libvirt/kvm.ts";
import type { DomainRef } from "#/vm/libvirt/protocol.ts";
import { saveMemory } from "#/vm/libvirt/save-memory.ts";
import { isActiveState, stateOf } from "#/vm/libvirt/states.ts";
import { parseXml } from "#/vm/libvirt/xml.ts";

export interface LibvirtOptions {
  readonly socketPath: string;
  /** Names this installation: guests of others on the same host are not ours. */
  readonly owner: string;
  readonly log: Log;
}

/**
 * Guests of QEMU, run by libvirt (9.0 and later), over its unix socket. Nothing is asked before the first call, so that Mica starts without libvirt.
 * Domains are persistent, and libvirtd finds running ones again when it is restarted.
 */
export class LibvirtDriver implements HypervisorDriver {
  readonly kind = "libvirt";
  readonly #config: HypervisorConfig;
  readonly #owner: string;
  readonly #connections: Connections;
  readonly #events: EventStream;
  readonly #calls: LibvirtCalls;
  readonly #agent: GuestAgent;
  readonly #backups: LibvirtBackups;
  readonly #disks: GuestDisks;
  #acceleration: Promise<Acceleration> | undefined;

  constructor(config: HypervisorConfig, { socketPath, owner, log }: LibvirtOptions) {
    const { uri, callTimeoutMs, keepaliveIntervalMs, keepaliveCountMax, connectionsMax, reconnectDelayMsMax } = config;
    const connection = { socketPath, uri, callTimeoutMs, keepaliveIntervalMs, keepaliveCountMax };
    this.#config = config;
    this.#owner = owner;
    this.#connections = new Connections({ ...connection, connectionsMax });
    this.#events = new EventStream({ connection, reconnectDelayMsMax, log });
    this.#calls = new LibvirtCalls(this.#connections);
    this.#agent = new GuestAgent(this.#calls, config.agentTimeoutMs);
    this.#backups = new LibvirtBackups(this.#calls);
    this.#disks = new GuestDisks(this.#calls, config.detachTimeoutMs);
  }

  facts(options: CallOptions = {}): Promise<HostFacts> {
    return telling("ask libvirt about its host", async () => {
      const [node, hostname, versions] = await Promise.all([this.#calls.node(options), this.#calls.hostname(options), this.#calls.versions(options)]);
      const { architecture, memoryBytes, cpuCount: vcpuCount } = node;
      const host = { hostname, architecture, vcpuCount, memoryBytes };
      const hypervisor = { hypervisorType: "QEMU", hypervisorVersion: versions.hypervisor, libraryVersion: versions.library };
      return { ...host, ...hypervisor, ...(await this.#accelerationOf(architecture)) };
    });
  }

  list(options: CallOptions = {}): Promise<GuestSummary[]> {
    return telling("list guests", async () => {
      const domains = (await this.#calls.listAllDomains(options)).filter(({ name }) => name.startsWith(GUEST_NAME_PREFIX));
      const found = await Promise.all(domains.map((domain) => unlessGone(this.#summaryOfOurs(domain, options))));
      return found.filter((guest) => guest !== undefined);
    });
  }

  stat(id: string, options: CallOptions = {}): Promise<GuestStat | undefined> {
    const domain = domainOf(id);
    return telling(`look at guest ${id}`, () => unlessGone(this.#stat(domain, options)));
  }

  define(spec: GuestSpec, options: CallOptions = {}): Promise<void> {
    return telling(`define guest ${spec.id}`, async () => {
      await provideCephSecrets(this.#calls, spec.disks, options);
      const { architecture } = await this.#calls.node(options);
      const { cpuMode, machineType = architecture === "aarch64" ? "virt" : "pc", pciePortCount } = this.#config;
      const { virtType } = await this.#accelerationOf(architecture);
      await this.#calls.define(domainXml(spec, { virtType, architecture, cpuMode, machineType, pciePortCount, owner: this.#owner }), options);
    });
  }

  undefine(id: string, options: CallOptions = {}): Promise<void> {
    return this.#on(id, "undefine", async (domain) => {
      const isActive = await unlessGone(this.#isActive(domain, options));
      // Libvirt would make it a domain that is gone when it ends.
      if (isActive) throw new AppError("conflict", "it runs");
      if (isActive === false) await unlessGone(this.#calls.undefine(domain, options));
    });
  }

  start(id: string, options: CallOptions = {}): Promise<void> {
    return this.#on(id, "start", async (domain) => {
      if (await this.#isActive(domain, options)) return;
      const isSaved = await this.#calls.hasManagedSave(domain, options);
      const { saveTimeoutMs, callTimeoutMs } = this.#config;
      const create = () => this.#calls.create(domain, { timeoutMs: isSaved ? saveTimeoutMs : callTimeoutMs, ...options });
      await reach(create, () => this.#isActive(domain, options));
    });
  }

  shutdown(id: string, options: CallOptions = {}): Promise<void> {
    return this.#on(id, "shut down", async (domain) => {
      const { state } = await this.#summary(domain, options);
      if (state === "paused") throw new AppError("conflict", "it is paused");
      if (state === "running") await this.#calls.shutdown(domain, options);
    });
  }

  destroy(id: string, options: CallOptions = {}): Promise<void> {
    return this.#on(id, "stop", async (domain) => {
      const isActive = () => unlessGone(this.#isActive(domain, options));
      if (await isActive()) await reach(() => unlessGone(this.#calls.destroy(domain, options)), async () => !(await isActive()));
    });
  }

  reboot(id: string, options: CallOptions = {}): Promise<void> {
    return this.#on(id, "restart", (domain) => this.#calls.reboot(domain, options));
  }

  reset(id: string, options: CallOptions = {}): Promise<void> {
    return this.#on(id, "reset", async (domain) => {
      const { state } = await this.#summary(domain, options);
      await this.#calls.reset(domain, options);
      if (state === "paused") await this.#calls.resume(domain, options);
    });
  }

  pause(id: string, options: CallOptions = {}): Promise<void> {
    return this.#on(id, "pause", async (domain) => {
      const isPaused = async () => (await this.#summary(domain, options)).state === "paused";
      if (!(await isPaused())) await reach(() => this.#calls.suspend(domain, options), isPaused);
    });
  }

  resume(id: string, options: CallOptions = {}): Promise<void> {
    return this.#on(id, "resume", async (domain) => {
      const isRunning = async () => (await this.#summary(domain, options)).state === "running";
      if (!(await isRunning())) await reach(() => this.#calls.resume(domain, options), isRunning);
    });
  }

  save(id: string, options: CallOptions = {}): Promise<void> {
    return this.#on(id, "save", async (domain) => {
      const isSaved = async () => (await this.#summary(domain, options)).state === "suspended";
      const save = () => saveMemory(this.#calls, domain, { signal: options.signal, timeoutMs: options.timeoutMs ?? this.#config.saveTimeoutMs });
      // Libvirt would wait for half a minute for its end.
      if (await this.#backups.open(domain, options)) throw new AppError("conflict", "views of its disks are open");
      if (!(await isSaved())) await reach(save, isSaved);
    });
  }

  discardSaved(id: string, options: CallOptions = {}): Promise<void> {
    return this.#on(id, "discard the saved memory of", async (domain) => {
      if (await unlessGone(this.#calls.hasManagedSave(domain, options))) await unlessGone(this.#calls.managedSaveRemove(domain, options));
    });
  }

  attachDisk(id: string, disk: GuestDisk, options: CallOptions = {}): Promise<void> {
    return this.#on(id, `attach disk ${disk.target} to`, (domain) => this.#disks.attach(domain, disk, options));
  }

  detachDisk(id: string, target: string, options: CallOptions = {}): Promise<void> {
    return this.#on(id, `detach disk ${target} from`, (domain) => this.#disks.detach(domain, target, options));
  }

  resizeDisk(id: string, target: string, sizeBytes: number, options: CallOptions = {}): Promise<void> {
    return this.#on(id, `resize disk ${target} of`, (domain) => this.#disks.resize(domain, target, sizeBytes, options));
  }

  replaceDisk(id: string, target: string, disk: GuestDisk, options: CopyOptions = {}): Promise<void> {
    return this.#on(id, `replace disk ${target} of`, (domain) => this.#disks.replace(domain, target, disk, options));
  }

  beginBackup(id: string, backup: BackupRequest, options: CallOptions = {}): Promise<BackupView[]> {
    return this.#on(id, `open views of disks of`, (domain) => this.#backups.begin(domain, backup, options));
  }

  prepareBackup(id: string, backup: BackupRequest, options: CallOptions = {}): Promise<PreparedBackup> {
    return this.#on(id, "prepare views of disks of", async (domain) => {
      const begin = await this.#backups.prepare(domain, backup, options);
      return (limits = {}) => this.#on(id, "open views of disks of", () => begin(limits));
    });
  }

  findBackup(id: string, options: CallOptions = {}): Promise<BackupView[] | undefined> {
    return this.#on(id, "look for views of disks of", (domain) => this.#backups.find(domain, options));
  }

  endBackup(id: string, options: CallOptions = {}): Promise<void> {
    return this.#on(id, "close the views of disks of", (domain) => this.#backups.end(domain, options));
  }

  listCheckpoints(id: string, options: CallOptions = {}): Promise<string[]> {
    return this.#on(id, "list the checkpoints of", (domain) => this.#backups.checkpoints(domain, options));
  }

  deleteCheckpoint(id: string, name: string, options: CallOptions = {}): Promise<void> {
    return this.#on(id, `delete checkpoint ${name} of`, (domain) => this.#backups.deleteCheckpoint(domain, name, options));
  }

  mirrorDisk(id: string, target: string, node: BlockNode, options: MirrorOptions): Promise<void> {
    return this.#on(id, `mirror disk ${target} of`, (domain) => this.#disks.mirror(domain, target, node, options));
  }

  endMirror(id: string, target: string, options: CallOptions = {}): Promise<void> {
    return this.#on(id, `end the mirror of disk ${target} of`, (domain) => this.#disks.endMirror(domain, target, options));
  }

  diskStats(id: string, target: string, options: CallOptions = {}): Promise<DiskStats> {
    return this.#on(id, `look at disk ${target} of`, (domain) => this.#disks.stats(domain, target, options));
  }

  consoleTail(id: string, bytesMax: number, options: CallOptions = {}): Promise<string> {
    return this.#on(id, "read the console of", async (domain) => {
      const path = consoleLogOf(await this.#calls.xml(domain, "inactive", options));
      return path === undefined ? "" : tailOf(path, bytesMax);
    });
  }

  agent(id: string, command: AgentCommand, options: CallOptions = {}): Promise<unknown> {
    return this.#on(id, `have ${command.execute} done in`, (domain) => this.#agent.command(domain, command, options));
  }

  freeze(id: string, options: CallOptions = {}): Promise<Frozen> {
    return this.#on(id, "freeze", (domain) => this.#agent.freeze(domain, options));
  }

  thaw(id: string, options: CallOptions = {}): Promise<void> {
    return this.#on(id, "thaw", (domain) => this.#agent.thaw(domain, options));
  }

  setUserPassword(id: string, user: string, password: string, options: CallOptions = {}): Promise<void> {
    return this.#on(id, "set a password in", (domain) => this.#agent.setUserPassword(domain, user, password, options));
  }

  subscribe(listener: (event: GuestEvent) => void): () => void {
    return this.#events.subscribe(listener);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#connections[Symbol.dispose]();
    await this.#events[Symbol.asyncDispose]();
  }

  async #summary(domain: DomainRef, options: CallOptions): Promise<GuestSummary> {
    const [{ state, reason }, isSaved] = await Promise.all([this.#calls.state(domain, options), this.#calls.hasManagedSave(domain, options)]);
    return { id: domain.uuid, ...stateOf(state, reason, isSaved) };
  }

  async #stat(domain: DomainRef, options: CallOptions): Promise<GuestStat> {
    const looks = [this.#summary(domain, options), this.#calls.xml(domain, "live", options), this.#backups.open(domain, options)] as const;
    const [summary, xml, backup] = await Promise.all(looks);
    return { ...summary, ...readDomainFacts(xml), ...(backup && { backup: { name: backup.name } }) };
  }

  async #summaryOfOurs(domain: DomainRef, options: CallOptions): Promise<GuestSummary | undefined> {
    const [summary, xml] = await Promise.all([this.#summary(domain, options), this.#calls.xml(domain, "inactive", options)]);
    return ownerOf(parseXml(xml)) === this.#owner ? summary : undefined;
  }

  async #isActive(domain: DomainRef, options: CallOptions): Promise<boolean> {
    return isActiveState((await this.#calls.state(domain, options)).state);
  }

  /** Found out once: a host does not get KVM while it runs. */
  async #accelerationOf(architecture: string): Promise<Acceleration> {
    const { virtType } = this.#config;
    if (virtType !== "auto") return { virtType, ...(virtType === "qemu" && { virtTypeReason: "hypervisor.virtType says so" }) };
    return (this.#acceleration ??= probeAcceleration(architecture));
  }

  #on<Result>(id: string, doing: string, work: (domain: DomainRef) => Promise<Result>): Promise<Result> {
    return telling(`${doing} guest ${id}`, () => work(domainOf(id)));
  }
}

function domainOf(id: string): DomainRef {
  return { name: guestName(id), uuid: id };
}

async function telling<Result>(doing: string, work: () => Promise<Result>): Promise<Result> {
  try {
    return await work();
  } catch (error) {
    throw asVmError(error, doing);
  }
}

/** What a process that was killed had asked for may come about just before our own call: libvirt refuses that then ("domain is not running"), and all is as it should be. */
async function reach(call: () => Promise<unknown>, isReached: () => Promise<boolean>): Promise<void> {
  try {
    await call();
  } catch (error) {
    if (!isLibvirtError(error, ERROR.operationInvalid) || !(await isReached())) throw error;
  }
}
