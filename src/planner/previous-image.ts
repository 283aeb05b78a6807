import type { PreviousImage, Since, TargetFacts } from "#/planner/facts.ts";

export function isPrevious(since: Since | undefined): since is PreviousImage {
  return since !== undefined && "imageId" in since;
}

/** Undefined where the target can be a clone of the image before, into which only what changed is written. */
export function whyNotBuiltOn(since: Since | undefined, target: TargetFacts): string | undefined {
  const unable = whyNotGrownOn(target);
  if (unable || !since) return unable ?? "nobody remembers what changed";
  if (!isPrevious(since)) return since.unknown;
  if (since.pool !== target.pool) return `image ${since.imageId}, the one before, is in pool "${since.pool}", and this one goes to "${target.pool}"`;
  if (since.virtualSizeBytes !== target.virtualSizeBytes) return `the disk was made larger since image ${since.imageId} was made of it`;
  return undefined;
}

/** Undefined where images of this kind can be the base of later ones: their bytes are the disk's own, and can be written in place. */
export function whyNotGrownOn({ format, stream, can, pool }: Pick<TargetFacts, "format" | "stream" | "can" | "pool">): string | undefined {
  if (stream || format !== "raw") return `only raw images are made of what has changed, and this one is to be ${stream ? "compressed" : format}`;
  if (can.clone === "none") return `pool "${pool}" cannot clone: ${can.why.clone ?? "its storage has no such call"}`;
  if (!can.mutable || can.addressable !== "write") return `disks in pool "${pool}" cannot be written to in place`;
  return undefined;
}
