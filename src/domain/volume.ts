import { AppError } from "./errors.ts";

/** cinder/objects/fields.py VolumeStatus. */
export const VOLUME_STATUSES = [
  "creating",
  "available",
  "reserved",
  "attaching",
  "detaching",
  "in-use",
  "maintenance",
  "deleting",
  "awaiting-transfer",
  "error",
  "error_deleting",
  "error_managing",
  "managing",
  "backing-up",
  "restoring-backup",
  "error_backing-up",
  "error_restoring",
  "error_extending",
  "downloading",
  "uploading",
  "retyping",
  "extending",
  "reverting",
] as const;
export type VolumeStatus = (typeof VOLUME_STATUSES)[number];

/** What may be done with a volume in which status, and the status it has meanwhile. cinder/volume/api.py. */
export const VOLUME_TRANSITIONS = {
  delete: { from: ["available", "error", "error_restoring", "error_extending", "error_managing"], to: "deleting" },
  extend: { from: ["available"], to: "extending" },
  /** From 3.42 on. */
  extendInUse: { from: ["available", "in-use"], to: "extending" },
  upload: { from: ["available"], to: "uploading" },
  /** With `force`, where the operator allows it. */
  uploadInUse: { from: ["available", "in-use"], to: "uploading" },
  retype: { from: ["available", "in-use"] },
  reserve: { from: ["available"], to: "attaching" },
  unreserve: { from: ["attaching"], to: "available" },
  snapshot: { from: ["available"] },
  /** With `force`, and always from 3.66 on. */
  snapshotInUse: { from: ["available", "in-use"] },
  /** As the source of another volume. */
  source: { from: ["available", "in-use"] },
  setReadonly: { from: ["available"] },
} as const satisfies Record<string, VolumeTransition>;

interface VolumeTransition {
  readonly from: readonly VolumeStatus[];
  /** Undefined where the status stays. */
  readonly to?: VolumeStatus;
}

/** Only a volume that nobody moves or changes underneath can have its description or metadata changed. */
export function refuseMaintenance(status: string, what: string): void {
  if (status === "maintenance") throw invalidVolume(`${what} when the volume is in maintenance mode.`);
}

/** "available or error": as refusals list them. */
export function orList(words: readonly string[]): string {
  return words.join(" or ");
}

/** 400 in Cinder's words (exception.InvalidVolume). */
export const invalidVolume = (reason: string): AppError => new AppError("bad_request", `Invalid volume: ${reason}`);
/** 400 in Cinder's words (exception.InvalidInput). */
export const invalidInput = (reason: string): AppError => new AppError("bad_request", `Invalid input received: ${reason}`);
/** 404 in Cinder's words (exception.VolumeNotFound): also for volumes of other projects. */
export const volumeNotFound = (id: string): AppError => new AppError("not_found", `Volume ${id} could not be found.`);
