import { AppError } from "./errors.ts";

/** cinder/objects/fields.py SnapshotStatus. */
export const SNAPSHOT_STATUSES = [
  "error",
  "available",
  "creating",
  "deleting",
  "deleted",
  "updating",
  "error_deleting",
  "unmanaging",
  "backing-up",
  "restoring",
] as const;
export type SnapshotStatus = (typeof SNAPSHOT_STATUSES)[number];

/** The statuses in which a snapshot may be deleted without force, and with its volume (`cascade`). */
export const SNAPSHOT_DELETABLE = ["available", "error"] as const satisfies readonly SnapshotStatus[];
export const SNAPSHOT_DELETABLE_BY_CASCADE = ["available", "error", "deleting"] as const satisfies readonly SnapshotStatus[];

/** 400 in Cinder's words (exception.InvalidSnapshot). */
export const invalidSnapshot = (reason: string): AppError => new AppError("bad_request", `Invalid snapshot: ${reason}`);
/** 404 in Cinder's words (exception.SnapshotNotFound): also for snapshots of other projects. */
export const snapshotNotFound = (id: string): AppError => new AppError("not_found", `Snapshot ${id} could not be found.`);
