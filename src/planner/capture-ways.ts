import { type CapturedGuest, effectOnGuest, type ExpectedConsistency, expectedConsistency, type GuestEffect } from "./consistency.ts";
import { CAPTURE_METHODS, type CaptureMethod, type Plan, type PlanBytes } from "./plan.ts";

/** A disk of a server with its plans, the best first. */
export interface PlannedDisk {
  /** The guest's name for it: `vda`. */
  readonly target: string;
  readonly ways: readonly Plan[];
}

/** A way to capture all the disks at one instant. Bytes are of all of them together. */
export interface CaptureWay {
  readonly method: CaptureMethod;
  /** Where a disk cannot be captured by the method, another one of its own. */
  readonly methods: Readonly<Record<string, CaptureMethod>>;
  readonly reason: string;
  readonly strategies: readonly string[];
  readonly pools: readonly string[];
  readonly bytes: PlanBytes;
  /** What is made reads through other disks; `flattenAfter`: only until that is mended in the background. */
  readonly dependsOnParent: boolean;
  readonly flattenAfter: boolean;
  readonly consistency: ExpectedConsistency;
  readonly guest: GuestEffect;
}

export interface ClosedMethod {
  readonly method: CaptureMethod;
  readonly because: string;
}

/** Every way that is open for the disks together, the best first. */
export function captureWays(disks: readonly PlannedDisk[], guest: CapturedGuest): CaptureWay[] {
  const open = CAPTURE_METHODS.filter((method) => disks.some(({ ways }) => ways.some((plan) => methodOf(plan) === method)));
  return open.map((method) => wayBy(method, disks, guest));
}

/** What is against the methods that no disk is open to. */
export function closedMethods(disks: readonly PlannedDisk[]): ClosedMethod[] {
  const reasons = disks.flatMap(({ ways: [best] }) => best?.capture?.closed ?? []);
  const isOpen = (method: CaptureMethod) => disks.some(({ ways }) => ways.some((plan) => methodOf(plan) === method));
  return CAPTURE_METHODS.flatMap((method) => (isOpen(method) ? [] : (reasons.find((reason) => reason.method === method) ?? [])));
}

/** A guest that is stopped is stopped for all of its disks. */
function wayBy(method: CaptureMethod, disks: readonly PlannedDisk[], guest: CapturedGuest): CaptureWay {
  const taken = disks.flatMap(({ target, ways }) => {
    const plan = ways.find((way) => methodOf(way) === method) ?? ways[0];
    return plan ? [{ target, plan }] : [];
  });
  const plans = taken.map(({ plan }) => plan);
  const methods = Object.fromEntries(taken.map(({ target, plan }) => [target, methodOf(plan)]));
  const leading = plans.find((plan) => methodOf(plan) === method);
  return {
    method,
    methods,
    reason: leading?.capture?.reason ?? leading?.reason ?? "",
    strategies: [...new Set(plans.map(({ strategy }) => strategy))],
    pools: [...new Set(plans.map(({ target }) => target.pool))],
    bytes: plans.map(({ bytes }) => bytes).reduce(added, { read: 0, written: 0, throughUs: 0, temporary: 0 }),
    dependsOnParent: plans.some(({ dependsOnParent }) => dependsOnParent),
    flattenAfter: plans.every(({ dependsOnParent, flattenAfter }) => !dependsOnParent || flattenAfter),
    consistency: expectedConsistency(method, guest),
    guest: effectOnGuest(method, guest, callsOf(Object.values(methods))),
  };
}

/** A plan of bytes that nobody writes to has no method of its own: they are read where they lie. */
function methodOf({ capture }: Plan): CaptureMethod {
  return capture?.method ?? "at_rest";
}

/** QEMU begins the backup of all disks in one call; every other disk is a call of its own. */
function callsOf(methods: readonly CaptureMethod[]): number {
  return methods.filter((method) => method !== "backup_job").length + (methods.includes("backup_job") ? 1 : 0);
}

function added(one: PlanBytes, other: PlanBytes): PlanBytes {
  return { read: one.read + other.read, written: one.written + other.written, throughUs: one.throughUs + other.throughUs, temporary: one.temporary + other.temporary };
}
