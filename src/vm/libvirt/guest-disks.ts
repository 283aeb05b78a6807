import { setTimeout as delay } from "node:timers/promises";
import { throwIfCancelled } from "#/domain/cancel.ts";
import type { BlockNode } from "#/domain/block-node.ts";
import { AppError } from "#/domain/errors.ts";
import { SECOND_MS } from "#/lib/units.ts";
import type { CallOptions, CopyOptions } from "#/vm/call-options.ts";
import type { DiskStats } from "#/vm/driver.ts";
import type { MirrorOptions } from "#/vm/backup.ts";
import type { GuestDisk } from "#/vm/guest.ts";
import { type LibvirtCalls, unlessGone, unlessMissing } from "#/vm/libvirt/calls.ts";
import { provideCephSecrets } from "#/vm/libvirt/ceph-secrets.ts";
import type { LimitedCall } from "#/vm/libvirt/connection.ts";
import { diskXml, storageKey } from "#/vm/libvirt/disk-xml.ts";
import { copyDisk, endCopy } from "#/vm/libvirt/disk-copy.ts";
import { findDisk, isActive, requireLiveDisk } from "#/vm/libvirt/domain-looks.ts";
import { ERROR, isLibvirtError, LibvirtError } from "#/vm/libvirt/errors.ts";
import { type DomainRef, FLAGS } from "#/vm/libvirt/protocol.ts";
import { child, parseXml, type XmlElement } from "#/vm/libvirt/xml.ts";

/** How soon one looks whether a guest has let go of a disk, and when it is asked again: a guest that boots has missed it. */
const POLL_MS = 50;
const ASK_AGAIN_MS = 2 * SECOND_MS;

/** The disks of a domain while it is there. A domain has two descriptions, how it runs and how it starts next; both are changed. */
export class GuestDisks {
  readonly #calls: LibvirtCalls;
  readonly #detachTimeoutMs: number;

  constructor(calls: LibvirtCalls, detachTimeoutMs: number) {
    this.#calls = calls;
    this.#detachTimeoutMs = detachTimeoutMs;
  }

  async attach(domain: DomainRef, disk: GuestDisk, limits: LimitedCall): Promise<void> {
    const xml = diskXml({ ...disk, bootOrder: undefined });
    await provideCephSecrets(this.#calls, [disk], limits);
    const lacking = await this.#lacking(domain, disk.target, xml, limits);
    if (lacking === 0) return;
    try {
      await this.#calls.attachDevice(domain, xml, lacking, limits);
    } catch (error) {
      // The guest may have been defined anew with the disk, or started, since it was looked at: by a reboot, for one.
      const stillLacking = await this.#lacking(domain, disk.target, xml, limits);
      if (stillLacking === lacking || !(error instanceof LibvirtError)) throw error;
      if (stillLacking !== 0) await this.#calls.attachDevice(domain, xml, stillLacking, limits);
    }
  }

  /** First from the running guest, which may refuse; then it is still attached in both. */
  async detach(domain: DomainRef, target: string, { signal, timeoutMs = this.#detachTimeoutMs }: CallOptions): Promise<void> {
    await this.#refuseSaved(domain, { signal });
    await this.#detachLive(domain, target, { signal, timeoutMs });
    await this.#refuseSaved(domain, { signal }); // It does not run any more since its memory was saved meanwhile, with the disk.
    const config = await findDisk(this.#calls, domain, "inactive", target, { signal });
    // It may have been defined anew without the disk since it was looked at: by a reboot, for one.
    if (config) await unlessMissing(this.#calls.detachDevice(domain, config.source, FLAGS.affectConfig, { signal }));
  }

  async resize(domain: DomainRef, target: string, sizeBytes: number, limits: LimitedCall): Promise<void> {
    await requireLiveDisk(this.#calls, domain, target, limits);
    const { capacityBytes } = await this.#calls.blockInfo(domain, target, limits);
    if (capacityBytes > sizeBytes) throw new AppError("conflict", `disk ${target} has ${capacityBytes} bytes, and cannot shrink to ${sizeBytes}`);
    // Also where the sizes are the same: a device, or an image in Ceph, that grew is new to the guest.
    await this.#calls.blockResize(domain, target, sizeBytes, limits);
  }

  async replace(domain: DomainRef, target: string, disk: GuestDisk, options: CopyOptions): Promise<void> {
    const limits = { signal: options.signal };
    const xml = diskXml({ ...disk, target, bootOrder: undefined });
    const live = await requireLiveDisk(this.#calls, domain, target, limits);
    if (isSame(live, xml)) return;
    await copyDisk(this.#calls, domain, { ...disk, target }, { ...options, shallow: false });
    await endCopy(this.#calls, domain, target, "pivot", limits);
    if (!isSame(await requireLiveDisk(this.#calls, domain, target, limits), xml)) throw new AppError("tool_failed", `the guest did not go over to the copy of ${target}`);
  }

  async mirror(domain: DomainRef, target: string, node: BlockNode, options: MirrorOptions): Promise<void> {
    // Its cache mode and the like are the disk's own.
    await copyDisk(this.#calls, domain, { target, node, bus: "virtio", device: "disk" }, options);
  }

  async endMirror(domain: DomainRef, target: string, limits: LimitedCall): Promise<void> {
    if (await unlessGone(isActive(this.#calls, domain, limits))) await endCopy(this.#calls, domain, target, "stay", limits);
  }

  async stats(domain: DomainRef, target: string, limits: LimitedCall): Promise<DiskStats> {
    await requireLiveDisk(this.#calls, domain, target, limits);
    const [stats, { capacityBytes }] = await Promise.all([this.#calls.blockStats(domain, target, limits), this.#calls.blockInfo(domain, target, limits)]);
    return { ...stats, sizeBytes: capacityBytes };
  }

  async #detachLive(domain: DomainRef, target: string, { signal, timeoutMs }: { signal: AbortSignal | undefined; timeoutMs: number }): Promise<void> {
    const dueMs = performance.now() + timeoutMs;
    for (let askAgainMs = 0; ; ) {
      const live = (await isActive(this.#calls, domain, { signal })) ? await findDisk(this.#calls, domain, "live", target, { signal }) : undefined;
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

  /** Which of a domain's descriptions do not have the disk, as flags. `conflict` where one has another in its place, or its memory is saved: it may have been since one last looked. */
  async #lacking(domain: DomainRef, target: string, xml: string, limits: LimitedCall): Promise<number> {
    const [live, config] = await Promise.all([findDisk(this.#calls, domain, "live", target, limits), findDisk(this.#calls, domain, "inactive", target, limits)]);
    for (const present of [live, config]) if (present) requireSame(present, xml, target);
    const runs = await isActive(this.#calls, domain, limits);
    if (!runs) await this.#refuseSaved(domain, limits);
    return (runs && !live ? FLAGS.affectLive : 0) | (config ? 0 : FLAGS.affectConfig);
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
