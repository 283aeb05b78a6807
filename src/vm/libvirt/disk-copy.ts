import { setTimeout as delay } from "node:timers/promises";
import { throwIfCancelled } from "#/domain/cancel.ts";
import { AppError } from "#/domain/errors.ts";
import { formatBytes } from "#/lib/units.ts";
import type { MirrorOptions } from "#/vm/backup.ts";
import type { GuestDisk } from "#/vm/guest.ts";
import type { LibvirtCalls } from "#/vm/libvirt/calls.ts";
import { provideCephSecrets } from "#/vm/libvirt/ceph-secrets.ts";
import type { LimitedCall } from "#/vm/libvirt/connection.ts";
import { diskXml, storageKey } from "#/vm/libvirt/disk-xml.ts";
import { findDisk, requireLiveDisk } from "#/vm/libvirt/domain-looks.ts";
import type { DomainRef } from "#/vm/libvirt/protocol.ts";
import { child, parseXml, type XmlElement } from "#/vm/libvirt/xml.ts";

/** How often one looks how far a copy is. */
const JOB_POLL_MS = 100;
/** What a copy must have left of what it was missing, to have come closer: a guest that outruns it goes up and down by less. */
const CLOSER = 0.99;

/**
 * Copies a running guest's disk to another that exists, or goes on with that copy; ends when both are equal, and stay so. It is ended by `endCopy`. Cancelled, or failed, it is
 * ended here. `conflict` where the disk is being copied to somewhere else.
 */
export async function copyDisk(calls: LibvirtCalls, domain: DomainRef, disk: GuestDisk, options: MirrorOptions): Promise<void> {
  const { signal, bytesPerSecondMax = 0, shallow } = options;
  const [limits, { target }] = [{ signal }, disk];
  const xml = diskXml({ ...disk, bootOrder: undefined });
  const present = mirrorOf(await requireLiveDisk(calls, domain, target, limits));
  if (present && storageKey(present) !== storageKey(parseXml(xml))) throw new AppError("conflict", `disk ${target} is being copied to somewhere else`);
  if (!present) {
    await provideCephSecrets(calls, [disk], limits);
    await calls.blockCopy(domain, target, xml, { bytesPerSecondMax, shallow }, limits);
  }
  await untilEqual(calls, domain, target, options).catch(async (error: unknown) => {
    await calls.blockJobAbort(domain, target, "stay").catch(() => {}); // It may have ended by itself: that is why.
    throw error;
  });
}

/** `pivot`: the guest goes on with the copy. Fine where there is none, for who stays. */
export async function endCopy(calls: LibvirtCalls, domain: DomainRef, target: string, whither: "pivot" | "stay", limits: LimitedCall): Promise<void> {
  if (whither === "stay" && !mirrorOf(await findDisk(calls, domain, "live", target, limits))) return;
  await calls.blockJobAbort(domain, target, whither, limits);
}

/** Where libvirt says that the disk is copied to. */
export function mirrorOf(disk: XmlElement | undefined): XmlElement | undefined {
  return child(disk, "mirror");
}

async function untilEqual(calls: LibvirtCalls, domain: DomainRef, target: string, { signal, onProgress, stallMsMax = Infinity }: MirrorOptions): Promise<void> {
  const limits = { signal };
  for (let closest = { missingBytes: Infinity, atMs: performance.now() }; ; ) {
    const job = await calls.blockJob(domain, target, limits);
    if (!job) throw new AppError("tool_failed", `the copy of ${target} ended by itself: the target could not be written, or is too small`);
    onProgress?.(job.totalBytes === 0 ? 0 : job.doneBytes / job.totalBytes);
    const missingBytes = job.totalBytes - job.doneBytes;
    if (missingBytes === 0 && (await isReady(calls, domain, target, limits))) return;
    if (missingBytes <= CLOSER * closest.missingBytes) closest = { missingBytes, atMs: performance.now() };
    else if (performance.now() - closest.atMs > stallMsMax) throw outrun(target, closest.missingBytes, stallMsMax);
    await delay(JOB_POLL_MS, undefined, { signal }).catch(() => throwIfCancelled(signal));
  }
}

function outrun(target: string, missingBytes: number, stallMsMax: number): AppError {
  return new AppError("timed_out", `The guest writes faster than its disk ${target} is copied: ${formatBytes(missingBytes)} were missing at best, and the copy came no closer for ${stallMsMax} ms (servers.mirrorStallMsMax).`);
}

/** Libvirt says in the domain's description that a copy has caught up: the counters alone can be equal before that. */
async function isReady(calls: LibvirtCalls, domain: DomainRef, target: string, limits: LimitedCall): Promise<boolean> {
  return mirrorOf(await findDisk(calls, domain, "live", target, limits))?.attributes["ready"] === "yes";
}
