import type { LimitedCall } from "#/vm/libvirt/connection.ts";
import type { Connections } from "#/vm/libvirt/connections.ts";
import { isLibvirtError, ERROR } from "#/vm/libvirt/errors.ts";
import { CALLS, type DomainRef, FLAGS, type Procedure, readDomain, writeDomain } from "#/vm/libvirt/protocol.ts";
import { type XdrReader, XdrWriter } from "#/vm/libvirt/xdr.ts";

/** libvirt's calls, by their names in libvirt.h, as far as the driver has a use for them. They throw LibvirtError and AppError. */
export class LibvirtCalls {
  readonly #connections: Connections;

  constructor(connections: Connections) {
    this.#connections = connections;
  }

  async node(limits?: LimitedCall): Promise<{ architecture: string; memoryBytes: number; cpuCount: number }> {
    const reply = await this.#call(CALLS.getNodeInfo, new XdrWriter(), limits);
    // `char model[32]`: XDR gives each character a word.
    const model = Array.from({ length: 32 }, () => reply.int()).filter((code) => code > 0);
    return { architecture: String.fromCharCode(...model), memoryBytes: reply.unsignedHyper() * 1024, cpuCount: reply.int() };
  }

  async hostname(limits?: LimitedCall): Promise<string> {
    return (await this.#call(CALLS.getHostname, new XdrWriter(), limits)).string();
  }

  async versions(limits?: LimitedCall): Promise<{ hypervisor: number; library: number }> {
    const [hypervisor, library] = await Promise.all([CALLS.getVersion, CALLS.getLibVersion].map((call) => this.#call(call, new XdrWriter(), limits)));
    return { hypervisor: hypervisor?.unsignedHyper() ?? 0, library: library?.unsignedHyper() ?? 0 };
  }

  async listAllDomains(limits?: LimitedCall): Promise<DomainRef[]> {
    const reply = await this.#call(CALLS.listAllDomains, new XdrWriter().int(1).int(0), limits);
    return reply.array(() => readDomain(reply));
  }

  async define(xml: string, limits?: LimitedCall): Promise<void> {
    await this.#call(CALLS.define, new XdrWriter().string(xml).int(0), limits);
  }

  async state(domain: DomainRef, limits?: LimitedCall): Promise<{ state: number; reason: number }> {
    const reply = await this.#onDomain(CALLS.getState, domain, limits);
    return { state: reply.int(), reason: reply.int() };
  }

  async hasManagedSave(domain: DomainRef, limits?: LimitedCall): Promise<boolean> {
    return (await this.#onDomain(CALLS.hasManagedSave, domain, limits)).int() === 1;
  }

  /** As it runs, or `inactive`: as it will be started next. */
  async xml(domain: DomainRef, which: "live" | "inactive", limits?: LimitedCall): Promise<string> {
    return (await this.#onDomain(CALLS.getXml, domain, limits, which === "inactive" ? FLAGS.xmlInactive : 0)).string();
  }

  async undefine(domain: DomainRef, limits?: LimitedCall): Promise<void> {
    const flags = FLAGS.undefineManagedSave | FLAGS.undefineSnapshotsMetadata | FLAGS.undefineNvram | FLAGS.undefineCheckpointsMetadata;
    await this.#onDomain(CALLS.undefine, domain, limits, flags);
  }

  async create(domain: DomainRef, limits?: LimitedCall): Promise<void> {
    await this.#onDomain(CALLS.create, domain, limits);
  }

  async destroy(domain: DomainRef, limits?: LimitedCall): Promise<void> {
    await this.#onDomain(CALLS.destroy, domain, limits);
  }

  /** By the agent, else by ACPI. */
  async shutdown(domain: DomainRef, limits?: LimitedCall): Promise<void> {
    await this.#onDomain(CALLS.shutdown, domain, limits);
  }

  async reboot(domain: DomainRef, limits?: LimitedCall): Promise<void> {
    await this.#onDomain(CALLS.reboot, domain, limits);
  }

  async reset(domain: DomainRef, limits?: LimitedCall): Promise<void> {
    await this.#onDomain(CALLS.reset, domain, limits);
  }

  async suspend(domain: DomainRef, limits?: LimitedCall): Promise<void> {
    await this.#call(CALLS.suspend, writeDomain(new XdrWriter(), domain), limits);
  }

  async resume(domain: DomainRef, limits?: LimitedCall): Promise<void> {
    await this.#call(CALLS.resume, writeDomain(new XdrWriter(), domain), limits);
  }

  async managedSave(domain: DomainRef, limits?: LimitedCall): Promise<void> {
    await this.#onDomain(CALLS.managedSave, domain, limits);
  }

  async managedSaveRemove(domain: DomainRef, limits?: LimitedCall): Promise<void> {
    await this.#onDomain(CALLS.managedSaveRemove, domain, limits);
  }

  async attachDevice(domain: DomainRef, xml: string, flags: number, limits?: LimitedCall): Promise<void> {
    await this.#call(CALLS.attachDevice, writeDomain(new XdrWriter(), domain).string(xml).int(flags), limits);
  }

  async detachDevice(domain: DomainRef, xml: string, flags: number, limits?: LimitedCall): Promise<void> {
    await this.#call(CALLS.detachDevice, writeDomain(new XdrWriter(), domain).string(xml).int(flags), limits);
  }

  /** Asks the running guest to let go of a device, and does not wait: `detachDevice` would for 5 s. */
  async detachDeviceAlias(domain: DomainRef, alias: string, limits?: LimitedCall): Promise<void> {
    await this.#call(CALLS.detachDeviceAlias, writeDomain(new XdrWriter(), domain).string(alias).int(FLAGS.affectLive), limits);
  }

  async blockResize(domain: DomainRef, disk: string, sizeBytes: number, limits?: LimitedCall): Promise<void> {
    const args = writeDomain(new XdrWriter(), domain).string(disk).unsignedHyper(sizeBytes).int(FLAGS.blockResizeBytes);
    await this.#call(CALLS.blockResize, args, limits);
  }

  async blockInfo(domain: DomainRef, disk: string, limits?: LimitedCall): Promise<{ allocatedBytes: number; capacityBytes: number }> {
    const reply = await this.#call(CALLS.getBlockInfo, writeDomain(new XdrWriter(), domain).string(disk).int(0), limits);
    return { allocatedBytes: reply.unsignedHyper(), capacityBytes: reply.unsignedHyper() };
  }

  async blockStats(domain: DomainRef, disk: string, limits?: LimitedCall): Promise<{ readCount: number; readBytes: number; writeCount: number; writtenBytes: number }> {
    const reply = await this.#call(CALLS.blockStats, writeDomain(new XdrWriter(), domain).string(disk), limits);
    return { readCount: reply.hyper(), readBytes: reply.hyper(), writeCount: reply.hyper(), writtenBytes: reply.hyper() };
  }

  /** Begins to copy the disk to one that exists; the job ends with its guest. `shallow`: only what is not in its backing file. */
  async blockCopy(domain: DomainRef, disk: string, targetXml: string, { bytesPerSecondMax, shallow }: { bytesPerSecondMax: number; shallow: boolean }, limits?: LimitedCall): Promise<void> {
    const args = writeDomain(new XdrWriter(), domain).string(disk).string(targetXml);
    if (bytesPerSecondMax > 0) args.int(1).string("bandwidth").int(TYPED_PARAM_ULLONG).unsignedHyper(bytesPerSecondMax);
    else args.int(0);
    const flags = FLAGS.blockCopyReuseExternal | FLAGS.blockCopyTransientJob | (shallow ? FLAGS.blockCopyShallow : 0);
    await this.#call(CALLS.blockCopy, args.int(flags), limits);
  }

  /** Undefined where there is no job. */
  async blockJob(domain: DomainRef, disk: string, limits?: LimitedCall): Promise<{ doneBytes: number; totalBytes: number } | undefined> {
    const reply = await this.#call(CALLS.getBlockJobInfo, writeDomain(new XdrWriter(), domain).string(disk).int(0), limits);
    if (reply.int() === 0) return undefined;
    reply.int(); // Its kind.
    reply.unsignedHyper(); // Its bandwidth.
    return { doneBytes: reply.unsignedHyper(), totalBytes: reply.unsignedHyper() };
  }

  /** Ends the job; `pivot`: the guest goes on with the copy. */
  async blockJobAbort(domain: DomainRef, disk: string, whither: "pivot" | "stay", limits?: LimitedCall): Promise<void> {
    const flags = whither === "pivot" ? FLAGS.blockJobAbortPivot : 0;
    await this.#call(CALLS.blockJobAbort, writeDomain(new XdrWriter(), domain).string(disk).int(flags), limits);
  }

  /** Opens views of disks, and makes a checkpoint at the same instant. The files for what is overwritten must be there. */
  async backupBegin(domain: DomainRef, backupXml: string, checkpointXml: string | undefined, limits?: LimitedCall): Promise<void> {
    await this.#call(CALLS.backupBegin, writeDomain(new XdrWriter(), domain).string(backupXml).optionalString(checkpointXml).int(FLAGS.backupBeginReuseExternal), limits);
  }

  /** Undefined where there is none. */
  async backupXml(domain: DomainRef, limits?: LimitedCall): Promise<string | undefined> {
    const reply = await orNone(this.#onDomain(CALLS.backupGetXml, domain, limits), ERROR.noDomainBackup);
    return reply?.string();
  }

  /** Ends what the domain is busy with as a whole: a backup. */
  async abortJob(domain: DomainRef, limits?: LimitedCall): Promise<void> {
    await this.#call(CALLS.abortJob, writeDomain(new XdrWriter(), domain), limits);
  }

  /** The oldest first. */
  async listCheckpoints(domain: DomainRef, limits?: LimitedCall): Promise<string[]> {
    const args = writeDomain(new XdrWriter(), domain).int(1).int(FLAGS.checkpointListTopological);
    const reply = await this.#call(CALLS.listAllCheckpoints, args, limits);
    return reply.array(() => {
      const name = reply.string();
      readDomain(reply);
      return name;
    });
  }

  async checkpointXml(domain: DomainRef, name: string, limits?: LimitedCall): Promise<string> {
    return (await this.#call(CALLS.checkpointGetXml, writeDomain(new XdrWriter().string(name), domain).int(FLAGS.checkpointXmlNoDomain), limits)).string();
  }

  /** With its bitmaps, which go over to the checkpoint before; or only what libvirt itself knows of it. */
  async deleteCheckpoint(domain: DomainRef, name: string, which: "bitmaps" | "metadata", limits?: LimitedCall): Promise<void> {
    const flags = which === "metadata" ? FLAGS.checkpointDeleteMetadataOnly : 0;
    await this.#call(CALLS.checkpointDelete, writeDomain(new XdrWriter().string(name), domain).int(flags), limits);
  }

  /** What the agent answered, as JSON. */
  async agentCommand(domain: DomainRef, json: string, timeoutSeconds: number, limits?: LimitedCall): Promise<string> {
    const args = writeDomain(new XdrWriter(), domain).string(json).int(timeoutSeconds).int(0);
    return (await this.#call(CALLS.agentCommand, args, limits)).optionalString() ?? "null";
  }

  /** How long libvirt itself waits for the agent, in calls that have no limit as an argument. */
  async setAgentResponseTimeout(domain: DomainRef, timeoutSeconds: number, limits?: LimitedCall): Promise<void> {
    await this.#call(CALLS.setAgentResponseTimeout, writeDomain(new XdrWriter(), domain).int(timeoutSeconds).int(0), limits);
  }

  /** All file systems; returns how many. */
  async freeze(domain: DomainRef, limits?: LimitedCall): Promise<number> {
    return (await this.#call(CALLS.freeze, writeDomain(new XdrWriter(), domain).int(0).int(0), limits)).int();
  }

  async thaw(domain: DomainRef, limits?: LimitedCall): Promise<number> {
    return (await this.#call(CALLS.thaw, writeDomain(new XdrWriter(), domain).int(0).int(0), limits)).int();
  }

  async setUserPassword(domain: DomainRef, user: string, password: string, limits?: LimitedCall): Promise<void> {
    const args = writeDomain(new XdrWriter(), domain).optionalString(user).optionalString(password).int(0);
    await this.#call(CALLS.setUserPassword, args, limits);
  }

  /** Keeps a Ceph key under a UUID, for domains that name that. */
  async setCephSecret(uuid: string, usage: string, secretXml: string, key: Uint8Array, limits?: LimitedCall): Promise<void> {
    await this.#call(CALLS.secretDefine, new XdrWriter().string(secretXml).int(0), limits);
    const secret = new XdrWriter().opaque(Buffer.from(uuid.replaceAll("-", ""), "hex")).int(SECRET_USAGE_CEPH).string(usage);
    await this.#call(CALLS.secretSetValue, secret.bytes(key).int(0), limits);
  }

  #onDomain(call: Procedure, domain: DomainRef, limits?: LimitedCall, flags = 0): Promise<XdrReader> {
    return this.#call(call, writeDomain(new XdrWriter(), domain).int(flags), limits);
  }

  #call(call: Procedure, args: XdrWriter, limits?: LimitedCall): Promise<XdrReader> {
    return this.#connections.call(call, args, limits);
  }
}

const TYPED_PARAM_ULLONG = 4;
const SECRET_USAGE_CEPH = 2;

/** Awaits work, and takes "there is no such domain" as undefined. */
export async function unlessGone<Result>(work: Promise<Result>): Promise<Result | undefined> {
  return orNone(work, ERROR.noDomain);
}

/** The same of a device. */
export async function unlessMissing<Result>(work: Promise<Result>): Promise<Result | undefined> {
  return orNone(work, ERROR.deviceMissing);
}

async function orNone<Result>(work: Promise<Result>, missing: number): Promise<Result | undefined> {
  return work.catch((error: unknown) => {
    if (isLibvirtError(error, missing)) return undefined;
    throw error;
  });
}
