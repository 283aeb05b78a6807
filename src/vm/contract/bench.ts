import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import type { BlockNode } from "#/domain/block-node.ts";
import { AppError, type ErrorCode } from "#/domain/errors.ts";
import { MiB, SECOND_MS } from "#/lib/units.ts";
import type { GuestEvent, HypervisorDriver } from "#/vm/driver.ts";
import type { GuestDisk, GuestSpec } from "#/vm/guest.ts";

/** What a driver's test hands over: a host with the driver under test, and what only the outside world can do. */
export interface VmBench extends AsyncDisposable {
  readonly driver: HypervisorDriver;
  /** What a second is to its agents: libvirt counts their time in whole ones. */
  readonly secondMs: number;
  /** Another driver for the same host, as another process has. */
  openAnother(): HypervisorDriver;
  /** A disk of a guest's that boots, on its own copy of the bytes. */
  bootDisk(): Promise<GuestDisk>;
  /** A new, empty disk that nobody has. */
  blankNode(format: "raw" | "qcow2", sizeBytes: number): Promise<BlockNode>;
  /** A new, empty folder that the hypervisor may write to. */
  newFolder(): Promise<string>;
  /** A path for a console's log, which is not there yet. */
  consoleLogPath(): string;

  /** In the guest: the size of the disk with that serial, in bytes; undefined where there is none. */
  sizeInGuest(id: string, serial: string): Promise<number | undefined>;
  /** In the guest: writes bytes of one value, and waits until they are on the disk. */
  writeInGuest(id: string, serial: string, byte: number, lengthBytes: number): Promise<void>;
  /** In the guest: what differs with each boot, and with nothing else. */
  bootId(id: string): Promise<string>;
  /** In the guest: the agent hangs for so long. */
  hangAgent(id: string, durationMs: number): Promise<void>;

  /** Kills the hypervisor's daemon; guests run on. */
  killDaemon(): Promise<void>;
  startDaemon(): Promise<void>;
  /** Kills the guest's own process. */
  killGuest(id: string): Promise<void>;
}

export type OpenBench = () => Promise<VmBench>;

/** Longer than any boot takes on a busy machine. */
const BOOT_LIMIT_MS = 120 * SECOND_MS;

export async function newSpec(bench: VmBench, changes: Partial<GuestSpec> = {}): Promise<GuestSpec> {
  return {
    id: randomUUID(),
    title: "contract",
    memoryBytes: 160 * MiB,
    vcpuCount: 1,
    boot: { kind: "firmware", firmware: "bios" },
    disks: changes.disks ?? [await bench.bootDisk()],
    nics: [],
    consoleLogPath: bench.consoleLogPath(),
    guestAgent: true,
    rng: true,
    ...changes,
  };
}

/** A disk beside the one that the guest boots from. Its file system may have no O_DIRECT. */
export function dataDisk(target: string, node: BlockNode): GuestDisk {
  return { target, bus: "virtio", device: "disk", node, serial: `data-${target}`, cache: "writeback" };
}

/** Waits until the agent of a guest answers. */
export async function untilUp({ driver, secondMs }: VmBench, id: string): Promise<void> {
  await until("the agent answers", async () => {
    if (!(await driver.stat(id))?.agentConnected) return false;
    return driver.agent(id, { execute: "guest-ping" }, { timeoutMs: secondMs }).then(
      () => true,
      () => false,
    );
  });
}

export async function until(what: string, isSo: () => Promise<boolean>, limitMs = BOOT_LIMIT_MS): Promise<void> {
  for (const dueMs = performance.now() + limitMs; !(await isSo()); ) {
    assert.ok(performance.now() < dueMs, `not within ${limitMs} ms: ${what}`);
    await delay(20);
  }
}

export async function rejectsWith(code: ErrorCode, work: () => Promise<unknown>): Promise<AppError> {
  try {
    await work();
  } catch (error) {
    assert.ok(error instanceof AppError, `it is an AppError: ${error}`);
    assert.equal(error.code, code, error.message);
    return error;
  }
  return assert.fail(`it succeeded, and should have been refused with ${code}`);
}

/** Keeps the events that come from now on; `await seen(…)` waits for one. */
export class EventLog implements Disposable {
  readonly events: GuestEvent[] = [];
  readonly #unsubscribe: () => void;

  private constructor(driver: HypervisorDriver) {
    this.#unsubscribe = driver.subscribe((event) => this.events.push(event));
  }

  static async open(driver: HypervisorDriver): Promise<EventLog> {
    const log = new EventLog(driver);
    await log.seen({ kind: "connected" });
    log.events.length = 0;
    return log;
  }

  async seen(expected: Partial<GuestEvent>, limitMs = 10 * SECOND_MS): Promise<void> {
    const matches = (event: GuestEvent) => Object.entries(expected).every(([key, value]) => event[key as keyof GuestEvent] === value);
    const shown = JSON.stringify(expected);
    await until(`the event ${shown}; there were ${JSON.stringify(this.events)}`, async () => this.events.some(matches), limitMs);
  }

  [Symbol.dispose](): void {
    this.#unsubscribe();
  }
}
