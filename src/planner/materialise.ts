import type { DiskFormat } from "#/domain/disk.ts";
import { isReadFrozen } from "#/domain/freeze-before.ts";
import type { PoolName } from "#/domain/ids.ts";
import { formatBytes } from "#/lib/units.ts";
import type { Facts, SourceFacts, TargetFacts } from "#/planner/facts.ts";
import { isPrevious, whyNotBuiltOn } from "#/planner/previous-image.ts";
import type { Capabilities } from "#/storage/driver.ts";
import { type Plan, type PlanBytes, type PlanStep, STRATEGIES, type Strategy } from "./plan.ts";

/**
 * Chooses the cheapest way that is open, and keeps the reason against every cheaper one.
 * The rules: format and size fit, same place, clone depth, cache limits, and what the pools can do.
 */
export function planMaterialise(facts: Facts): Plan {
  const passedOver: { strategy: Strategy; because: string }[] = [];
  const known = strategiesFor(facts.source);
  for (const [index, strategy] of known.entries()) {
    const because = obstacle(strategy, facts);
    if (because !== undefined) {
      passedOver.push({ strategy, because });
      continue;
    }
    const fallbacks = known.slice(index + 1).filter((dearer) => obstacle(dearer, facts) === undefined);
    return { ...planFor(strategy, facts), passedOver, fallbacks };
  }
  throw new Error("Broken invariant: one of stream_convert and staged_convert is always open");
}

/** Only of servers' disks anybody remembers what changes. */
function strategiesFor({ since }: SourceFacts): readonly Strategy[] {
  return since ? STRATEGIES : STRATEGIES.filter((strategy) => strategy !== "copy_changes");
}

/** The plan of a new disk that reads as zeroes. */
export function planBlank({ kind = "volume", ...target }: { kind?: "volume" | "server"; pool: PoolName; virtualSizeBytes: number }): Plan {
  return {
    source: { kind: "blank" },
    target: { kind, format: "raw", ...target },
    strategy: "blank",
    reason: "There is no source: the disk is made empty and takes space only as it is written.",
    steps: [{ name: "create", description: `Make a sparse disk of ${formatBytes(target.virtualSizeBytes)}.` }],
    bytes: NOTHING,
    dependsOnParent: false,
    depth: 0,
    flattenAfter: false,
    fillsCache: false,
    passedOver: [],
    fallbacks: [],
  };
}

/** Undefined where the way is open, else the reason against it, as words for an operator. */
function obstacle(strategy: Strategy, facts: Facts): string | undefined {
  switch (strategy) {
    case "adopt":
      return whyNotAdopt(facts);
    case "clone":
      return whyNotClone(facts);
    case "clone_cached":
      return whyNotCloneCached(facts);
    case "copy_changes":
      return whyNotBuiltOn(facts.source.since, facts.target) ?? whyPoolCannotClone(facts.target);
    case "offload_copy":
      return whyNotOffloadCopy(facts);
    case "stream_convert":
      return whyNotStreamed(facts);
    case "staged_convert":
      return undefined;
    default:
      return strategy satisfies never;
  }
}

/**
 * Adopting keeps the very bytes: a pool whose snapshots move the volume onto an overlay can give what is frozen below
 * to an image. Where clones are independent, a clone costs as little and leaves the volume as it is.
 */
function whyNotAdopt({ source, target }: Facts): string | undefined {
  if (target.kind !== "image") return `the ${source.kind} keeps its disk`;
  const unshared = whyNotShared({ source, target });
  if (unshared) return unshared;
  if (source.pool !== target.pool) return `${elsewhere({ source, target })}, and adopting leaves the bytes where they are`;
  if (!source.can.snapshot) return `the pool cannot freeze the ${source.kind}'s disk: ${why(source.can, "snapshot")}`;
  if (source.can.clone === "independent") return `the ${source.kind} keeps its disk, since the pool's clones cost nothing`;
  if (source.can.snapshotReadsSource) return `what the pool freezes of the ${source.kind} reads through the ${source.kind}`;
  if (source.depth > 0 && !target.mayReadThrough) return standsOn(source.depth);
  if (target.cloneDepthMax <= 0) return `the pool's cloneDepthMax is 0, and the ${source.kind} would come to stand on the image`;
  return undefined;
}

function whyNotClone({ source, target }: Facts): string | undefined {
  const unshared = whyNotShared({ source, target });
  if (unshared) return unshared;
  const unable = whyPoolCannotClone(target);
  if (unable) return unable;
  if (source.live && target.can.clone === "dependent" && !source.can.snapshot) return `the ${source.kind} may still change, and the pool cannot freeze it`;
  return undefined;
}

function whyNotCloneCached({ source, target }: Facts): string | undefined {
  if (target.kind === "image" || source.kind !== "image") return `the cache is for volumes and servers from images, not for ${a(target.kind)} from ${a(source.kind)}`;
  const unable = whyPoolCannotClone(target);
  if (unable) return unable;
  if (target.cache.entry) return undefined;
  return target.cache.closed ?? "the pool's cache has no copy of the image yet";
}

function whyNotOffloadCopy({ source, target }: Facts): string | undefined {
  const different = whyNotSameBytes({ source, target });
  if (different) return different;
  const [from, to] = [source.can, target.can].map(({ place, copyPlace = place }) => copyPlace);
  if (from !== to) return `${elsewhere({ source, target })}, and no storage copies between ${from} and ${to}`;
  if (!target.can.offloadCopy) return `the pool cannot copy by itself: ${why(target.can, "offloadCopy")}`;
  if (source.depth > 0) return standsOn(source.depth);
  return undefined;
}

/** Sharing needs the same bytes in the same place, which may have several pools. */
function whyNotShared({ source, target }: Facts): string | undefined {
  const different = whyNotSameBytes({ source, target });
  if (different || source.can.place === target.can.place) return different;
  return `${elsewhere({ source, target })}, and these share no bytes: ${source.can.place} is not ${target.can.place}`;
}

/** What all ways but conversion need. */
function whyNotSameBytes({ source, target }: Facts): string | undefined {
  if (source.readOut) return source.readOut;
  if (target.stream) return `the image is to be compressed with ${target.stream.compression}`;
  if (source.packed) return `the image is a ${source.packed} disk in a compressed stream, and a volume's bytes must be plain`;
  return source.format === target.format ? undefined : whyNotFormat(source.format, target.format);
}

function elsewhere({ source, target }: Facts): string {
  return `the ${source.kind} is in pool "${source.pool}", the ${target.kind} goes to "${target.pool}"`;
}

/** An uploaded qcow2 is never used in place: its metadata is the uploader's, and would be parsed at every read for as long as the volume lives. */
function whyNotFormat(source: DiskFormat, target: DiskFormat): string {
  if (target === "raw") return `the source is ${source}, and a volume's bytes must be plain: foreign ${source} metadata is read once, by a conversion, and never kept in use`;
  return `the source is ${source}, and the image is to be ${target}`;
}

function whyPoolCannotClone({ can, cloneDepthMax, standsAlone }: TargetFacts): string | undefined {
  if (standsAlone && can.clone === "dependent") return "servers.useCowImages is off: the disk is not to read through another";
  if (can.clone === "none") return `the pool cannot clone: ${why(can, "clone")}`;
  if (can.clone === "dependent" && cloneDepthMax <= 0) return "the pool's cloneDepthMax is 0: disks are always copied";
  return undefined;
}

function planFor(strategy: Strategy, { source, target }: Facts): Omit<Plan, "passedOver" | "fallbacks"> {
  const fillsCache = (strategy === "stream_convert" || strategy === "staged_convert") && fillsTheCache(source, target);
  const depth = depthAfter(strategy, source, target, fillsCache);
  const { kind, pool, format, virtualSizeBytes, clusters, stream } = target;
  return {
    source: { kind: source.kind, id: source.id, pool: source.pool, format: source.format, ...(source.packed && { packed: source.packed }) },
    target: { kind, pool, format, virtualSizeBytes, ...(clusters && { clusters }), ...(stream && { stream }) },
    strategy,
    reason: reasonFor(strategy, source, target, fillsCache),
    steps: [...freezeBefore(strategy, source, target), ...stepsOf(strategy, source, target, fillsCache)],
    bytes: bytesOf(strategy, source),
    dependsOnParent: depth > 0,
    depth,
    flattenAfter: depth > depthMax(source, target),
    fillsCache,
  };
}

/** How many disks the result may read through for good. */
function depthMax(source: SourceFacts, { kind, cloneDepthMax, flattenFromSnapshot, mayReadThrough }: TargetFacts): number {
  return (kind === "image" && !mayReadThrough) || (source.kind === "snapshot" && flattenFromSnapshot) ? 0 : cloneDepthMax;
}

/** A conversion of an image is worth keeping where later volumes can be clones of it. */
function fillsTheCache(source: SourceFacts, target: TargetFacts): boolean {
  const useful = source.kind === "image" && target.kind !== "image" && whyPoolCannotClone(target) === undefined;
  return useful && target.cache.closed === undefined;
}

function depthAfter(strategy: Strategy, source: SourceFacts, target: TargetFacts, fillsCache: boolean): number {
  if (target.can.clone !== "dependent") return 0;
  if (strategy === "adopt") return source.depth;
  if (strategy === "clone") return source.depth + 1;
  if (strategy === "clone_cached") return (target.cache.entry?.depth ?? 0) + 1;
  if (strategy === "copy_changes") return (isPrevious(source.since) ? source.since.depth : 0) + 1;
  return fillsCache ? 1 : 0;
}

const NOTHING: PlanBytes = { read: 0, written: 0, throughUs: 0, temporary: 0 };

function bytesOf(strategy: Strategy, { allocatedBytes }: SourceFacts): PlanBytes {
  switch (strategy) {
    case "adopt":
    case "clone":
    case "clone_cached":
      return NOTHING;
    case "offload_copy":
      return { read: allocatedBytes, written: allocatedBytes, throughUs: 0, temporary: 0 };
    case "copy_changes": // At most: how much has changed is known only at the instant.
    case "stream_convert":
      return { read: allocatedBytes, written: allocatedBytes, throughUs: allocatedBytes, temporary: 0 };
    case "staged_convert":
      return { read: 2 * allocatedBytes, written: 2 * allocatedBytes, throughUs: 2 * allocatedBytes, temporary: allocatedBytes };
    default:
      return strategy satisfies never;
  }
}

function reasonFor(strategy: Strategy, source: SourceFacts, target: TargetFacts, fillsCache: boolean): string {
  const kept = fillsCache ? ` The result is kept in the pool's cache, so that the next ${target.kind} of this image is a clone.` : "";
  switch (strategy) {
    case "adopt":
      return `The ${source.kind}'s bytes, frozen, become the image's; the ${source.kind} goes on as an overlay on them. Nothing is moved.`;
    case "clone":
      return `${reasonForClone(source, target)} Nothing is moved.${standsAloneSoon(source, target)}`;
    case "clone_cached":
      return "The pool's cache has this image already converted, and shares its bytes with the new disk. Nothing is moved.";
    case "copy_changes":
      return `${reasonForChanges(source)}: only that is read, and written into a clone of that image.${standsAloneSoon(source, target)}`;
    case "offload_copy":
      return "The storage copies the bytes by itself; none pass through here.";
    case "stream_convert":
      return `The source is ${source.packed ? "decompressed and inspected" : "read"} where it lies and written as ${wordsFor(target)} in one pass, holes skipped, without a temporary file.${kept}`;
    case "staged_convert":
      return `${reasonForStaging(source, target)}, so that its bytes are staged in a temporary file, whose space is reserved first, and converted from there.${kept}`;
    default:
      return strategy satisfies never;
  }
}

function reasonForChanges({ pool, since }: SourceFacts): string {
  const [imageId, toldBy] = isPrevious(since) ? [since.imageId, since.toldBy] : [];
  if (toldBy === "pool") return `Pool "${pool}" keeps what the disk held when image ${imageId} was made of it, and knows what has changed since`;
  return `The guest remembers what it changed since image ${imageId} was made of it`;
}

function reasonForClone(source: SourceFacts, target: TargetFacts): string {
  if (source.pool === target.pool) return `The ${source.kind}'s bytes lie in the same pool, which shares them with the new disk.`;
  return `The ${source.kind}'s bytes lie in pool "${source.pool}", which shares them with pool "${target.pool}": both are ${source.can.place}.`;
}

/** An image outlives what it was made of, and is cloned from in its turn. */
function standsAloneSoon(source: SourceFacts, { kind, can, mayReadThrough }: TargetFacts): string {
  return kind === "image" && !mayReadThrough && can.clone === "dependent" ? ` The image can be used at once, and is made independent of the ${source.kind} in the background.` : "";
}

function reasonForStaging(source: SourceFacts, target: TargetFacts): string {
  if (source.packed) return `${aFormat(source.packed)} in a compressed stream can be read only from its beginning to its end`.replace(/^a/, "A");
  if (target.stream) return `${aFormat(target.stream.packed)} is complete only when all of it was written, and compressed after that`.replace(/^a/, "A");
  return "The source cannot be read in place";
}

function wordsFor({ format, clusters, stream }: TargetFacts): string {
  if (stream) return `${stream.packed} compressed with ${stream.compression} (${stream.engine})`;
  return clusters ? `${format} with compressed clusters` : format;
}

function freezeBefore(strategy: Strategy, source: SourceFacts, target: TargetFacts): PlanStep[] {
  return source.live && isReadFrozen(strategy, source, target) ? [{ name: "freeze", description: `Freeze the ${source.kind}'s disk.` }] : [];
}

function stepsOf(strategy: Strategy, source: SourceFacts, target: TargetFacts, fillsCache: boolean): PlanStep[] {
  const reserve = { name: "reserve", description: `Record the disk and reserve its space in pool "${target.pool}".` };
  const where = fillsCache ? "the pool's cache" : `the new ${target.kind}`;
  const fromCache = { name: "clone", description: "Clone the cached disk." };
  switch (strategy) {
    case "adopt":
      return [
        { name: "freeze", description: `Freeze the ${source.kind}'s disk and put the ${source.kind} on an overlay.` },
        { name: "adopt", description: "Give the frozen disk to the image." },
      ];
    case "clone":
      return [{ name: "clone", description: freezeBefore(strategy, source, target).length > 0 ? "Clone the frozen disk." : `Clone the ${source.kind}'s disk.` }];
    case "clone_cached":
      return [fromCache];
    case "copy_changes":
      return [reserve, { name: "clone", description: "Clone the disk of the image before." }, { name: "copy", description: "Copy what has changed since." }];
    case "offload_copy":
      return [reserve, { name: "copy", description: "Have the storage copy the disk." }];
    case "stream_convert":
      return [reserve, { name: "convert", description: `Convert ${source.packed ?? source.format} to ${wordsFor(target)} into ${where}.` }, ...(fillsCache ? [fromCache] : [])];
    case "staged_convert":
      return [reserve, ...stagedSteps(source, target, where), ...(fillsCache ? [fromCache] : [])];
    default:
      return strategy satisfies never;
  }
}

function stagedSteps(source: SourceFacts, target: TargetFacts, where: string): PlanStep[] {
  if (target.stream) {
    const { packed, compression, engine } = target.stream;
    return [
      { name: "stage", description: `Convert ${source.format} to ${packed} in a temporary file.` },
      { name: "compress", description: `Compress that with ${compression} (${engine}) into ${where}.` },
    ];
  }
  const how = source.packed ? "Decompress and inspect the source in" : "Copy the source to";
  return [
    { name: "stage", description: `${how} a temporary file.` },
    { name: "convert", description: `Convert it to ${wordsFor(target)} into ${where}.` },
  ];
}

/** The same bytes can be passed on by us between any pools; a change of format needs a tool that jumps to and fro in what is not raw. */
function whyNotStreamed({ source, target }: Facts): string | undefined {
  const [from, to] = [source.packed ?? source.format, target.stream?.packed ?? target.format];
  if (from === to && !target.clusters) return undefined;
  if (source.packed) return `${aFormat(from)} cannot be read out of a compressed stream in any order`;
  if (source.can.addressable === "none") return `${aFormat(from)} cannot be read in place: ${why(source.can, "addressable")}`;
  if (to === "raw") return undefined;
  if (target.stream) return `${aFormat(to)} cannot be compressed before it is complete`;
  if (target.can.addressable !== "write") return `${aFormat(to)} cannot be written in place: ${why(target.can, "addressable")}`;
  if (target.can.fills && !target.can.fills.includes(to)) return `${aFormat(to)} cannot be written in place: ${why(target.can, "fills")}`;
  return undefined;
}

function standsOn(depth: number): string {
  return `the source reads through ${depth === 1 ? "a parent disk" : `${depth} parent disks`}, and the result is to stand alone`;
}

function why(can: Capabilities, capability: keyof Capabilities["why"]): string {
  return can.why[capability] ?? "its storage has no such call";
}

const a = (noun: string): string => (/^[aeiou]/.test(noun) ? `an ${noun}` : `a ${noun}`);
const aFormat = (format: DiskFormat): string => (format === "iso" || format === "opaque" ? `an ${format} disk` : `a ${format} disk`);
