import { rm } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import { throwIfCancelled } from "#/domain/cancel.ts";
import { AppError } from "#/domain/errors.ts";
import { LISTED_RANGES_MAX } from "#/lib/ranges.ts";
import { MINUTE_MS } from "#/lib/units.ts";
import { createEmpty, map } from "#/tools/qemu-img.ts";
import type { BackupDisk, BackupRequest, BackupView, ByteRange } from "#/vm/backup.ts";
import { backupXml, checkpointXml, type OpenBackup, readBackup, scratchPath, targetsOfCheckpoint, viewNode } from "#/vm/libvirt/backup-xml.ts";
import { type LibvirtCalls, unlessGone } from "#/vm/libvirt/calls.ts";
import type { LimitedCall } from "#/vm/libvirt/connection.ts";
import { mirrorOf } from "#/vm/libvirt/disk-copy.ts";
import { isActive } from "#/vm/libvirt/domain-looks.ts";
import { disksOf, targetOf } from "#/vm/libvirt/domain-reading.ts";
import { ERROR, isLibvirtError } from "#/vm/libvirt/errors.ts";
import type { DomainRef } from "#/vm/libvirt/protocol.ts";
import { child, parseXml, type XmlElement } from "#/vm/libvirt/xml.ts";

/** How soon one looks whether a backup has ended: QEMU takes some milliseconds for it. */
const POLL_MS = 20;
/** Libvirt itself may be held up for half a minute: see `GuestBackups`. */
const END_LIMIT_MS = MINUTE_MS;

/** The views of a domain's disks (virDomainBackupBegin in pull mode) and its checkpoints. Libvirtd finds both again when it is restarted. */
export class LibvirtBackups {
  readonly #calls: LibvirtCalls;

  constructor(calls: LibvirtCalls) {
    this.#calls = calls;
  }

  async begin(domain: DomainRef, request: BackupRequest, limits: LimitedCall): Promise<BackupView[]> {
    const begin = await this.prepare(domain, request, limits);
    await begin(limits);
    return this.#views(domain, request, limits);
  }

  /** All but libvirt's one call. */
  async prepare(domain: DomainRef, request: BackupRequest, limits: LimitedCall): Promise<(limits: LimitedCall) => Promise<void>> {
    if (!(await isActive(this.#calls, domain, limits))) throw new AppError("conflict", "it does not run");
    const disks = disksOf(parseXml(await this.#calls.xml(domain, "live", limits)));
    const wanted = request.disks.map(({ target }) => requireDisk(disks, target));
    const open = await this.open(domain, limits);
    if (open && open.name !== request.name) throw new AppError("conflict", `the backup "${open.name}" is open`);
    return open ? async () => {} : this.#prepare(domain, request, wanted, limits);
  }

  async find(domain: DomainRef, limits: LimitedCall): Promise<BackupView[] | undefined> {
    const open = await this.open(domain, limits);
    if (!open?.name) return undefined;
    return Promise.all(open.targets.map((target) => this.#view(domain, open, target, limits)));
  }

  /** Libvirt asks QEMU to end, and does not wait until it has. Backups that somebody else began are left alone. */
  async end(domain: DomainRef, { signal, timeoutMs = END_LIMIT_MS }: LimitedCall): Promise<void> {
    const isOpen = async () => Boolean((await this.open(domain, { signal }))?.name);
    if (!(await isOpen())) return;
    const dueMs = performance.now() + timeoutMs;
    await this.#calls.abortJob(domain, { signal, timeoutMs }).catch((error: unknown) => {
      if (!isLibvirtError(error, ERROR.operationInvalid)) throw error; // It ended by itself.
    });
    while (await isOpen()) {
      if (performance.now() >= dueMs) throw new AppError("tool_timed_out", `QEMU did not end them within ${timeoutMs} ms`);
      await delay(POLL_MS, undefined, { signal }).catch(() => throwIfCancelled(signal));
    }
  }

  /** What libvirt says is open, whoever began it. */
  async open(domain: DomainRef, limits: LimitedCall): Promise<OpenBackup | undefined> {
    const xml = await unlessGone(this.#calls.backupXml(domain, limits));
    return xml === undefined ? undefined : readBackup(xml);
  }

  async checkpoints(domain: DomainRef, limits: LimitedCall): Promise<string[]> {
    return this.#calls.listCheckpoints(domain, limits);
  }

  /** Libvirt has QEMU merge its bitmaps into the ones before, for which the guest must run. */
  async deleteCheckpoint(domain: DomainRef, name: string, limits: LimitedCall): Promise<void> {
    const names = await unlessGone(this.#calls.listCheckpoints(domain, limits));
    if (!names?.includes(name)) return;
    if (!(await isActive(this.#calls, domain, limits))) throw new AppError("conflict", "it does not run, and its disks know the checkpoint");
    await this.#calls.deleteCheckpoint(domain, name, "bitmaps", limits).catch((error: unknown) => {
      // A disk has lost its bitmap: with the guest's process, or since the target is another disk now. Libvirt tells it in words alone.
      if (!/bitmap .* not found/.test(String(error))) throw error;
      return this.#calls.deleteCheckpoint(domain, name, "metadata", limits);
    });
  }

  async #prepare(domain: DomainRef, request: BackupRequest, disks: readonly XmlElement[], limits: LimitedCall): Promise<(limits: LimitedCall) => Promise<void>> {
    const { checkpoint, folder } = request;
    for (const disk of disks) if (mirrorOf(disk)) throw new AppError("conflict", `disk ${targetOf(disk)} is being copied`);
    for (const disk of disks) await this.#makeScratch(domain, folder, targetOf(disk), limits);
    if (checkpoint !== undefined) await this.deleteCheckpoint(domain, checkpoint, limits);
    const able = checkpoint === undefined ? [] : disks.filter(remembers).map(targetOf);
    const remembering = checkpoint === undefined || able.length === 0 ? undefined : checkpointXml(checkpoint, able);
    return (limits) => this.#calls.backupBegin(domain, backupXml(request), remembering, limits);
  }

  /** Beforehand: while libvirt has QEMU make it, the guest would wait twice as long. */
  async #makeScratch(domain: DomainRef, folder: string, target: string, limits: LimitedCall): Promise<void> {
    const filename = scratchPath(folder, target);
    await rm(filename, { force: true }); // What a call left that was killed, or whose guest was.
    const { capacityBytes } = await this.#calls.blockInfo(domain, target, limits);
    await createEmpty(filename, capacityBytes, { signal: limits.signal });
  }

  async #views(domain: DomainRef, { disks, checkpoint }: BackupRequest, limits: LimitedCall): Promise<BackupView[]> {
    const open = await this.open(domain, limits);
    if (!open) throw new AppError("conflict", "the guest ended meanwhile, and the backup with it");
    const remembered = checkpoint === undefined ? undefined : await this.#targetsOf(domain, checkpoint, limits);
    const views: BackupView[] = [];
    for (const disk of disks) {
      const view = await this.#view(domain, open, disk.target, limits);
      const changed = await changedIn(open, disk, limits);
      views.push({ ...view, ...(changed && { changed }), ...(remembered && { isRemembered: remembered.includes(disk.target) }) });
    }
    return views;
  }

  async #view(domain: DomainRef, open: OpenBackup, target: string, limits: LimitedCall): Promise<BackupView> {
    const { capacityBytes } = await this.#calls.blockInfo(domain, target, limits);
    return { target, node: viewNode(open, target), sizeBytes: capacityBytes };
  }

  async #targetsOf(domain: DomainRef, checkpoint: string, limits: LimitedCall): Promise<string[]> {
    const names = await this.#calls.listCheckpoints(domain, limits);
    return names.includes(checkpoint) ? targetsOfCheckpoint(await this.#calls.checkpointXml(domain, checkpoint, limits)) : [];
  }
}

/** QEMU tells its bitmap as if what changed were holes (`x-dirty-bitmap` of the nbd driver). Undefined where nobody asked, or there is too much to tell: then it is not asked to the end. */
async function changedIn(open: OpenBackup, { target, since, changedCountMax = LISTED_RANGES_MAX }: BackupDisk, { signal }: LimitedCall): Promise<ByteRange[] | undefined> {
  if (since === undefined) return undefined;
  const ranges: ByteRange[] = [];
  const enough = new AbortController();
  const add = ({ startBytes, lengthBytes, data }: { startBytes: number; lengthBytes: number; data: boolean }) => {
    if (data || ranges.push({ start: startBytes, end: startBytes + lengthBytes }) <= changedCountMax) return;
    enough.abort();
    ranges.length = 0;
  };
  const asked = map(viewNode(open, target, "bitmap"), add, { signal: signal ? AbortSignal.any([signal, enough.signal]) : enough.signal });
  await asked.catch((error: unknown) => {
    if (!enough.signal.aborted || signal?.aborted) throw error;
  });
  return enough.signal.aborted ? undefined : ranges;
}

function requireDisk(disks: readonly XmlElement[], target: string): XmlElement {
  const disk = disks.find((one) => targetOf(one) === target);
  if (!disk) throw new AppError("not_found", `it has no disk ${target}`);
  return disk;
}

/** Only qcow2 files keep bitmaps. */
function remembers(disk: XmlElement): boolean {
  return child(disk, "driver")?.attributes["type"] === "qcow2";
}
