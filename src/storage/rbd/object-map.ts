import { AppError } from "#/domain/errors.ts";

/**
 * What RBD notes of each object of an image, in an object `rbd_object_map.ID` for what the image is now, and one for each of its snapshots:
 * two bits per object (Ceph: include/rbd/object_map_types.h). `written`: since the snapshot before. `kept`: it is there, and was not written since.
 */
export interface ObjectMap {
  readonly count: number;
  /** Beyond the end there is nothing. */
  stateOf(object: number): ObjectState;
}
export type ObjectState = "nothing" | "written" | "going" | "kept";

const STATES = ["nothing", "written", "going", "kept"] as const;

/** common/bit_vector.hpp: the length of a header, the header with the count of elements, then the elements, the first one in a byte's upper bits. */
export function parseObjectMap(bytes: Buffer): ObjectMap {
  const headerBytes = bytes.length >= 18 ? bytes.readUInt32LE(0) : 0;
  const count = headerBytes === 14 ? Number(bytes.readBigUInt64LE(10)) : -1;
  const data = bytes.subarray(4 + headerBytes, 4 + headerBytes + Math.ceil(count / 4));
  if (count < 0 || data.length < Math.ceil(count / 4)) throw new AppError("not_supported", "Ceph keeps its object maps in a form that is not known here");
  const stateOf = (object: number) => (object >= count ? "nothing" : (STATES[((data[object >> 2] ?? 0) >> (6 - 2 * (object & 3))) & 3] as ObjectState));
  return { count, stateOf };
}

/** Whether the map of a snapshot can be trusted, from its record in the image's header (cls/rbd/cls_rbd.h, cls_rbd_snap, version 8: Ceph 13 and later). */
export function isMapValid(record: Buffer): boolean {
  if (record.length < 18 || record.readUInt8(0) < 8) return false;
  const flagsAt = 18 + record.readUInt32LE(14) + 8 + 1; // Behind the id, the name, the size, and whether it is protected.
  if (record.length < flagsAt + 8) return false;
  return (record.readBigUInt64LE(flagsAt) & (OBJECT_MAP_INVALID | FAST_DIFF_INVALID)) === 0n;
}

const [OBJECT_MAP_INVALID, FAST_DIFF_INVALID] = [1n, 2n] as const;

/** Whether an object may differ between two snapshots, where `newer` is the next one after `older`. */
export function mayDiffer(older: ObjectState, newer: ObjectState): boolean {
  return newer === "written" || newer === "going" || (newer === "nothing") !== (older === "nothing");
}
