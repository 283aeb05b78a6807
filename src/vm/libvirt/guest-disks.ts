import { setTimeout as delay } from "node:timers/promises";
import { throwIfCancelled } from "#/domain/cancel.ts";
import { AppError } from "#/domain/errors.ts";
import { SECOND_MS } from "#/lib/units.ts";
import type { CallOptions, CopyOptions, DiskStats } from "#/vm/driver.ts";
import type { GuestDisk } from "#/vm/guest.ts";
import type { LibvirtCalls } from "#/vm/libvirt/calls.ts";
import { provideCephSecrets } from "#/vm/libvirt/ceph-secrets.ts";
import type { LimitedCall } from "#/vm/libvirt/connection.ts";
import { diskXml, storageKey } from "#/vm/libvirt/disk-xml.ts";
import { disksOf, targetOf } from "#/vm/libvirt/domain-reading.ts";
import { ERROR, isLibvirtError } from "#/vm/libvirt/errors.ts";
import { type DomainRef, FLAGS } from "#/vm/libvirt/protocol.ts";
import { isActiveState } from "#/vm/libvirt/states.ts";
import { child, parseXml, type XmlElement } from "#/vm/libvirt/xml.ts";

/** How soon one looks whether a guest has let go of a disk, and when it is asked again: a guest that boots has missed it. */
const POLL_MS = 50;
const ASK_AGAIN_MS = 2 * SECOND_MS;
/** How often one looks how far a copy is. */
const JOB_POLL_MS = 100;

/** The disks of a domain while it is there. A domain has two descriptions, how it runs and how it starts next; both are changed. */
export class GuestDisks {
  readonly #calls: LibvirtCalls;
  readonly #detachTimeoutMs: number;

  constructor(calls: LibvirtCalls, detachTimeoutMs: number) {
    this.#calls = calls;
    this.#detachTimeoutMs = detachTimeoutMs;
  }

  async attach(domain: DomainRef, disk: GuestDisk, limits: LimitedCall): Promise<void> {
    await this.#refuseSaved(domain, limits);
    const xml = diskXml({ ...disk, bootOrder: undefined });
    const [live, config] = await this.#present(domain, disk.target, limits);
    for (const present of [live, config]) if (present) requireSame(present, xml, disk.target);
    const isActive = await this.#isActive(domain, limits);
    const flags = (isActive && !live ? FLAGS.affectLive : 0) | (config ? 0 : FLAGS.affectConfig);
    if (flags === 0) return;
    await provideCephSecrets(this.#calls, [disk], limits);
    await this.#calls.attachDevice(domain, xml, flags, limits);
  }

  /** First from the running guest, which may refuse; then it is still attached in both. */
  async detach(domain: DomainRef, target: string, { signal, timeoutMs = this.#detachTimeoutMs }: CallOptions): Promise<void> {
    await this.#refuseSaved(domain, { signal });
    await this.#detachLive(domain, target, { signal, timeoutMs });
    await this.#refuseSaved(domain, { signal }); // It does not run any more since its memory was saved meanwhile, with the disk.
    const config = await this.#find(domain, "inactive", target, { signal });
    if (config) await this.#calls.detachDevice(domain, config.source, FLAGS.affectConfig, { signal });
  }

  async resize(domain: DomainRef, target: string, sizeBytes: number, limits: LimitedCall): Promise<void> {
    await this.#requireLive(domain, target, limits);
    const { capacityBytes } = await this.#calls.blockInfo(domain, target, limits);
    if (capacityBytes > sizeBytes) throw new AppError("conflict", `disk ${target} has ${capacityBytes} bytes, and cannot shrink to ${sizeBytes}`);
    // Also where the sizes are the same: a device, or an image in Ceph, that grew is new to the guest.
    await this.#calls.blockResize(domain, target, sizeBytes, limits);
  }

  async replace(domain: DomainRef, target: string, disk: GuestDisk, { signal, onProgress, bytesPerSecondMax = 0 }: CopyOptions): Promise<void> {
    const limits = { signal };
    const xml = diskXml({ ...disk, target, bootOrder: undefined });
    const live = await this.#requireLive(domain, target, limits);
    if (isSame(live, xml)) return;
    if (!(await this.#calls.blockJob(domain, target, limits))) {
      await provideCephSecrets(this.#calls, [disk], limits);
      await this.#calls.blockCopy(domain, target, xml, bytesPerSecondMax, limits);
    }
    try {
      await this.#copied(domain, target, limits, onProgress);
      await this.#calls.blockJobAbort(domain, target, true, limits);
    } catch (error) {
      await this.#calls.blockJobAbort(domain, target, false).catch(() => {}); // It may have ended by itself: that is why.
      throw error;
    }
    if (!isSame(await this.#requireLive(domain, target, limits), xml)) throw new AppError("tool_failed", `the guest did not go over to the copy of ${target}`);
  }

  async stats(domain: DomainRef, target: string, limits: LimitedCall): Promise<DiskStats> {
    await this.#requireLive(domain, target, limits);
    const [stats, { capacityBytes }] = await Promise.all([this.#calls.blockStats(domain, target, limits), this.#calls.blockInfo(domain, target, limits)]);
    return { ...stats, sizeBytes: capacityBytes };
  }

  async #detachLive(domain: DomainRef, target: string, { signal, timeoutMs }: { signal: AbortSignal | undefined; timeoutMs: number }): Promise<void> {
    const dueMs = performance.now() + timeoutMs;
    for (let askAgainMs = 0; ; ) {
      const live = (await this.#isActive(domain, { signal })) ? await this.#find(domain, "live", target, { signal }) : undefined;
      if (!live) return;
      if (performance.now() >= dueMs) throw new AppError("conflict", `the guest did not let go of disk ${target} within ${timeoutMs} ms: it stays attached`);
      if (performance.now() >= askAgainMs) {
        await this.#askToLetGo(domain, live, { signal });
        askAgainMs = performance.now() + ASK_AGAIN_MS;
      }
      await delay(POLL_MS, undefined, { signal }).catch(() => throwIfCancelled(signal));
    }
  }

  async #askToLetGo(domain: DomainRef, disk: XmlElement, limits: LimitedCall): Promise<void> {
    try {
      await this.#calls.detachDeviceAlias(domain, child(disk, "alias")?.attributes["name"] ?? "", limits);
    } catch (error) {
      // Gone meanwhile, or the whole guest with it; or QEMU says that it was asked already.
      if (!isLibvirtError(error, ERROR.deviceMissing, ERROR.operationFailed, ERROR.operationInvalid) && !/already in the process of unplug/.test(String(error))) throw error;
    }
  }

  async #copied(domain: DomainRef, target: string, limits: LimitedCall, onProgress?: (fraction: number) => void): Promise<void> {
    for (;;) {
      const job = await this.#calls.blockJob(domain, target, limits);
      if (!job) throw new AppError("tool_failed", `the copy of ${target} ended by itself: the target could not be written, or is too small`);
      onProgress?.(job.totalBytes === 0 ? 0 : job.doneBytes / job.totalBytes);
      if (job.totalBytes > 0 && job.doneBytes === job.totalBytes && (await this.#isMirrored(domain, target, limits))) return;
      await delay(JOB_POLL_MS, undefined, { signal: limits.signal }).catch(() => throwIfCancelled(limits.signal));
    }
  }

  /** Libvirt says in the domain's description that a copy has caught up: the counters alone can be equal before that. */
  async #isMirrored(domain: DomainRef, target: string, limits: LimitedCall): Promise<boolean> {
    const disk = await this.#find(domain, "live", target, limits);
    return disk?.children.some(({ name, attributes }) => name === "mirror" && attributes["ready"] === "yes") ?? false;
  }

  async #present(domain: DomainRef, target: string, limits: LimitedCall): Promise<[XmlElement | undefined, XmlElement | undefined]> {
    return Promise.all([this.#find(domain, "live", target, limits), this.#find(domain, "inactive", target, limits)]);
  }

  async #find(domain: DomainRef, which: "live" | "inactive", target: string, limits: LimitedCall): Promise<XmlElement | undefined> {
    const xml = parseXml(await this.#calls.xml(domain, which, limits));
    return disksOf(xml).find((disk) => targetOf(disk) === target);
  }

  async #requireLive(domain: DomainRef, target: string, limits: LimitedCall): Promise<XmlElement> {
    if (!(await this.#isActive(domain, limits))) throw new AppError("conflict", "it does not run");
    const disk = await this.#find(domain, "live", target, limits);
    if (!disk) throw new AppError("not_found", `it has no disk ${target}`);
    return disk;
  }

  async #isActive(domain: DomainRef, limits: LimitedCall): Promise<boolean> {
    return isActiveState((await this.#calls.state(domain, limits)).state);
  }

  async #refuseSaved(domain: DomainRef, limits: LimitedCall): Promise<void> {
    if (await this.#calls.hasManagedSave(domain, limits)) throw new AppError("conflict", "it is suspended: its saved memory knows its disks");
  }
}

function isSame(present: XmlElement, wantedXml: string): boolean {
  return storageKey(present) === storageKey(parseXml(wantedXml));
}

function requireSame(present: XmlElement, wantedXml: string, target: string): void {
  if (!isSame(present, wantedXml)) throw new AppError("conflict", `target ${target} is taken by another disk`);
}
