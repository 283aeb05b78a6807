import type { Capabilities } from "#/storage/driver.ts";
import { movesLiveDisk, whyNoInstantKept, whyNoPoolSnapshot } from "#/planner/kept-instant.ts";
import { isPrevious, whyNotGrownOn } from "#/planner/previous-image.ts";
import type { Facts, Since, SourceFacts } from "./facts.ts";
import { planMaterialise } from "./materialise.ts";
import { CAPTURE_METHODS, type CaptureChoice, type CaptureMethod, type Plan, type PlanBytes } from "./plan.ts";

/** What the planner looks at where a disk of a server is to become an image or a snapshot. */
export interface CaptureFacts extends Facts {
  /** How its guest stands; `off` also where it crashed. */
  readonly guest: "running" | "paused" | "suspended" | "off";
  /** The one method that the operator allows for guests that run (`servers.captureMethod`). */
  readonly only?: CaptureMethod | undefined;
  /** The image's `os_require_quiesce`: without frozen file systems it is better not done. */
  readonly requiresQuiesce?: boolean | undefined;
  /** Of what is to be an image: the one before. */
  readonly since?: Since | undefined;
  /** Of a server's own disk: whether later images of it are to be made of what changes from this one on (`servers.incrementalImages`). */
  readonly remembers?: boolean | undefined;
}

/**
 * The plans to capture a disk, the best first: each a method to read its bytes at one instant, with the cheapest way for these bytes from there to the
 * target. At least one: a guest can always be stopped for a while.
 */
export function planCapture(facts: CaptureFacts): Plan[] {
  const reasons = CAPTURE_METHODS.map((method) => ({ method, because: obstacle(method, facts) }));
  const open = reasons.filter(({ because }) => because === undefined).map(({ method }) => method);
  return open.map((method, index) => {
    const plan = planBy(method, facts);
    return { ...plan, capture: { ...choice(method, { reasons, open, index, facts }), remembers: whoRemembers(method, plan, facts) } };
  });
}

/** Undefined: what there was before stays as true as it is. */
function whoRemembers(method: CaptureMethod, { strategy }: Plan, { source, target, remembers }: CaptureFacts): CaptureChoice["remembers"] {
  if (remembers === undefined) return undefined;
  const sharesBytes = strategy === "adopt" || strategy === "clone";
  if (!remembers || sharesBytes || whyNotGrownOn(target) !== undefined) return "nobody";
  if (method === "backup_job") return "guest";
  const isFrozen = method === "pool_snapshot" || method === "at_rest";
  return isFrozen && whyNoInstantKept(source.can) === undefined ? "pool" : undefined;
}

interface Sifted {
  readonly reasons: readonly { readonly method: CaptureMethod; readonly because: string | undefined }[];
  readonly open: readonly CaptureMethod[];
  readonly index: number;
  readonly facts: CaptureFacts;
}

function choice(method: CaptureMethod, { reasons, open, index, facts }: Sifted): CaptureChoice {
  const gentler = reasons.slice(0, CAPTURE_METHODS.indexOf(method));
  const passedOver = gentler.map((reason) => ({ method: reason.method, because: reason.because ?? "it broke" }));
  const closed = reasons.flatMap(({ method: other, because }) => (because === undefined ? [] : [{ method: other, because }]));
  return { method, reason: REASONS[method](facts), passedOver, fallbacks: open.slice(index + 1), closed };
}

/** Undefined where the method is open, else what is against it, as words for an operator. */
function obstacle(method: CaptureMethod, { guest, source, only, requiresQuiesce }: CaptureFacts): string | undefined {
  const isActive = guest === "running" || guest === "paused";
  if (method === "at_rest") return isActive ? "the guest has the disk open, and may write to it" : undefined;
  if (!isActive) return "the guest does not run: its disk holds still";
  if (only && only !== method) return `servers.captureMethod is ${only}`;
  if (method === "pool_snapshot") return whyNoPoolSnapshot(source.can);
  if (method === "cold" && guest === "running" && requiresQuiesce) return "os_require_quiesce asks for frozen file systems, and a guest that is stopped from outside has none";
  return undefined;
}

function planBy(method: CaptureMethod, facts: CaptureFacts): Plan {
  const source = { ...seenBy(method, facts), since: sinceBy(method, facts) };
  const { target } = facts;
  const isFrozenInPlace = target.kind === "snapshot" && source.readOut === undefined && source.can.snapshot;
  if (isFrozenInPlace) return planFrozen(facts);
  const plan = planMaterialise({ source, target });
  if (method !== "live_mirror") return plan;
  return { ...plan, reason: "The file that the disk was mirrored into is read and converted in one pass, and then removed.", bytes: withMirror(plan.bytes, source.ownBytes) };
}

/** A file gets all that the guest's own layer holds; with what lies under it, it is read in the layer's place. */
function withMirror(bytes: PlanBytes, layerBytes: number): PlanBytes {
  return { ...bytes, temporary: bytes.temporary + layerBytes };
}

/** What the pool freezes is the snapshot. */
function planFrozen({ source, target }: CaptureFacts): Plan {
  const { kind, id, pool, format } = source;
  const depth = source.can.clone === "dependent" ? source.depth + (source.can.snapshotReadsSource ? 1 : 0) : 0;
  return {
    source: { kind, id, pool, format },
    target: { kind: target.kind, pool: target.pool, format: target.format, virtualSizeBytes: target.virtualSizeBytes },
    strategy: "adopt",
    reason: "The pool freezes the disk: what it held becomes the snapshot's. Nothing is moved.",
    steps: [{ name: "freeze", description: "Freeze the disk in its pool." }],
    bytes: { read: 0, written: 0, throughUs: 0, temporary: 0 },
    dependsOnParent: depth > 0,
    depth,
    flattenAfter: false,
    fillsCache: false,
    passedOver: [],
    fallbacks: [],
  };
}

/** The disk's bytes as that method gives them. */
function seenBy(method: CaptureMethod, { source, guest }: CaptureFacts): SourceFacts {
  switch (method) {
    case "at_rest":
      return guest === "suspended" ? knownToSavedMemory(source) : source;
    case "pool_snapshot":
      return { ...source, live: false, depth: source.depth + (source.can.snapshotReadsSource ? 1 : 0) };
    case "backup_job":
    case "live_mirror":
      return { ...source, depth: 0, live: false, can: READ_OUT, readOut: "its bytes come out of the running guest, and cannot be shared" };
    case "cold":
      return keptInPlace(source, "the guest goes on with the disk as it is");
    default:
      return method satisfies never;
  }
}

/** What changed is asked of QEMU together with the view, and of a pool between two instants that it keeps. */
function sinceBy(method: CaptureMethod, { since, source }: CaptureFacts): Since | undefined {
  if (!isPrevious(since)) return since;
  const unknown = since.toldBy === "guest" ? whyGuestIsNotAsked(method) : whyPoolIsNotAsked(method, source.can);
  return unknown === undefined ? since : { unknown };
}

function whyGuestIsNotAsked(method: CaptureMethod): string | undefined {
  if (method === "backup_job") return undefined;
  return method === "at_rest" ? "the guest does not run, and only its QEMU can tell what changed" : `what changed is told only with a backup job, and the disk is read by ${method}`;
}

function whyPoolIsNotAsked(method: CaptureMethod, can: Capabilities): string | undefined {
  if (method === "pool_snapshot" || method === "at_rest") return whyNoInstantKept(can);
  return `the pool tells what changed only up to an instant that it freezes, and the disk is read by ${method}`;
}

/** The disk must stay the file that it is. */
/** The disk of a suspended guest. */
export function knownToSavedMemory(source: SourceFacts): SourceFacts {
  return keptInPlace(source, "the guest's saved memory knows its disk");
}

function keptInPlace(source: SourceFacts, because: string): SourceFacts {
  if (!movesLiveDisk(source.can)) return source;
  return { ...source, can: { ...source.can, snapshot: false, why: { ...source.can.why, snapshot: because } } };
}

/** What can be done with what QEMU shows on a socket. */
const READ_OUT: Capabilities = { clone: "none", snapshot: false, offloadCopy: false, addressable: "read", mutable: false, sparse: true, place: "guest", why: {} };

const REASONS: Readonly<Record<CaptureMethod, (facts: CaptureFacts) => string>> = {
  at_rest: ({ guest }) => (guest === "suspended" ? "The guest's memory is saved and its disk holds still: it is read where it lies." : "The guest does not run: its disk is read where it lies."),
  pool_snapshot: () => "The pool freezes the disk in an instant while the guest writes on.",
  backup_job: () => "QEMU shows the disk as it was at one instant while the guest writes on, and it is read from there in one pass; only what the guest overwrites meanwhile is kept aside.",
  live_mirror: () => "QEMU copies the guest's own layer of the disk into a temporary file until both are equal, and stops there; the image is made of that file.",
  cold: () => "The guest is stopped with its memory saved, its disk is read, and it goes on from where it was.",
};
