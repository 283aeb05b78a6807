import type { Strategy } from "#/planner/plan.ts";

/** The ways of the first volume of an image and of the next one. */
type Ways = readonly [first: Strategy, next: Strategy];

/** Where an image is, as seen from the pool of the volume. */
export const SOURCES = ["the same pool", "another pool of the same place", "a pool elsewhere", "an object store or a web server"] as const;
export type SourcePlace = (typeof SOURCES)[number];

/** How an image came: in the bytes of a disk, or in any other format (qcow2, vmdk, vhd, vhdx, vdi). */
export const FORMATS = ["raw", "qcow2"] as const;
export type MatrixFormat = (typeof FORMATS)[number];

export const TARGETS = [
  "file on ext4",
  "file on XFS or btrfs",
  "nfs, the server clones",
  "nfs, the server does not clone",
  "lvm thin",
  "lvm thick",
  "rbd",
] as const;
export type TargetKind = (typeof TARGETS)[number];

const SHARED: Ways = ["clone", "clone"];
/** Converted into the pool's cache, then cloned from there. */
const CACHED: Ways = ["stream_convert", "clone_cached"];
/** A pool that cannot clone has no use for a cache. */
const CONVERTED: Ways = ["stream_convert", "stream_convert"];

type Row = Readonly<Partial<Record<SourcePlace, Readonly<Record<MatrixFormat, Ways>>>>>;

const elsewhere = { "a pool elsewhere": { raw: CACHED, qcow2: CACHED }, "an object store or a web server": { raw: CACHED, qcow2: CACHED } } as const;
const here = { "the same pool": { raw: SHARED, qcow2: CACHED } } as const;
const beside = { "another pool of the same place": { raw: SHARED, qcow2: CACHED } } as const;

/**
 * The ways from an image to a volume: what the planner says, and what happens on the real storage (test/real/matrix*.test.ts).
 * docs/strategies.md is made from it. Where a combination cannot be, it is left out: overlays and LVM have no pools beside them.
 */
export const MATRIX: Readonly<Record<TargetKind, Row>> = {
  "file on ext4": { ...here, ...elsewhere },
  "file on XFS or btrfs": { ...here, ...beside, ...elsewhere },
  "nfs, the server clones": { ...here, ...beside, ...elsewhere },
  "nfs, the server does not clone": { ...here, ...elsewhere },
  "lvm thin": { ...here, ...elsewhere },
  "lvm thick": {
    "the same pool": { raw: CONVERTED, qcow2: CONVERTED },
    "a pool elsewhere": { raw: CONVERTED, qcow2: CONVERTED },
    "an object store or a web server": { raw: CONVERTED, qcow2: CONVERTED },
  },
  rbd: { ...here, ...beside, ...elsewhere },
};
