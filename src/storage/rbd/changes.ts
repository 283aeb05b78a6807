import { setImmediate as nextTurn } from "node:timers/promises";
import { throwIfCancelled } from "#/domain/cancel.ts";
import { AppError } from "#/domain/errors.ts";
import { joined, union } from "#/lib/ranges.ts";
import type { ByteRange, WorkOptions } from "#/storage/driver.ts";
import { isSnapshot } from "#/storage/rbd/names.ts";
import { isMapValid, mayDiffer, type ObjectMap, parseObjectMap } from "#/storage/rbd/object-map.ts";
import { readObject, readOmapValue } from "#/tools/rados.ts";
import type { Rbd, RbdImage, RbdInfo, RbdSnapshot, RbdSnapshotInfo } from "#/tools/rbd.ts";

type Options = Pick<WorkOptions, "signal">;

/** A disk reads through images, each as it was at a snapshot, or as it is now. */
interface Layer {
  readonly image: RbdImage;
  readonly info: RbdInfo;
  readonly snapshot: RbdSnapshotInfo | undefined;
}

/** Objects of one size that may differ. */
interface Marked {
  readonly objectBytes: number;
  readonly count: number;
  has(object: number): boolean;
}

const DEPTH_MAX = 200;
/** A snapshot that is made meanwhile moves what was written before it to its own map. */
const ATTEMPTS_MAX = 5;
/** Looking at so many objects takes some milliseconds. */
const TURN_OBJECTS = 65_536;

/**
 * What may differ between two disks of a cluster, by RBD's object maps. The two read through a common image, each at a point of its
 * life. So what may differ is what was written to that image between the two points, and every object of the clones that stand above it. `rbd diff` cannot say
 * this: it knows no snapshots that are hidden, and these are all that clones of format 2 leave.
 */
export async function* changedObjects(rbd: Rbd, from: RbdImage | RbdSnapshot, to: RbdImage | RbdSnapshot, range: ByteRange, { signal }: Options): AsyncIterable<ByteRange> {
  throwIfCancelled(signal);
  const [before, now] = await Promise.all([layersOf(rbd, from), layersOf(rbd, to)]);
  const common = now.find(({ info }) => before.some((layer) => layer.info.id === info.id));
  const atFrom = before.find(({ info }) => info.id === common?.info.id);
  if (!common || !atFrom) throw new AppError("not_supported", "the two read through no common image: all of them may differ");
  const above = [...before.slice(0, before.indexOf(atFrom)), ...now.slice(0, now.indexOf(common))];
  for (const chain of [before, now]) requireWholeParents(chain);
  throwIfCancelled(signal);
  const marks = await Promise.all([writtenBetween(rbd, atFrom, common, signal), ...above.map((layer) => ownObjects(rbd, layer))]);
  const inside = { start: range.start, end: Math.min(range.end, sizeOf(now[0] as Layer)) };
  yield* marks.map((marked) => rangesOf(marked, inside)).reduce((all, some) => union(all, some));
}

function sizeOf({ info, snapshot }: Layer): number {
  return snapshot?.sizeBytes ?? info.sizeBytes;
}

/** A clone that was made smaller reads zeroes where its parent has more, also when it has grown again. None of ours ever was. */
function requireWholeParents(chain: readonly Layer[]): void {
  for (const [index, { image, info }] of chain.entries()) {
    const parent = chain[index + 1];
    if (parent && info.overlapBytes < sizeOf(parent)) throw new AppError("not_supported", `${image.pool}/${image.image} was made smaller at a time`);
  }
}

const NONE: Marked = { objectBytes: 1, count: 0, has: () => false };

async function layersOf(rbd: Rbd, disk: RbdImage | RbdSnapshot): Promise<Layer[]> {
  const layers: Layer[] = [];
  for (let at: (RbdImage & { readonly snapshot?: string }) | undefined = disk; at; at = layers.at(-1)?.info.parent) {
    if (layers.length > DEPTH_MAX) throw new AppError("disk_not_found", `${disk.image} reads through more than ${DEPTH_MAX} others`);
    const { pool, namespace, image: name } = at;
    const image = { pool, namespace, image: name };
    const [info, snapshot] = await Promise.all([rbd.info(image), isSnapshot(at) ? findSnapshot(rbd, image, at.snapshot) : undefined]);
    layers.push({ image, info, snapshot });
  }
  return layers;
}

/** Of clones' parents it has a name that Ceph has made up. */
async function findSnapshot(rbd: Rbd, image: RbdImage, name: string): Promise<RbdSnapshotInfo> {
  const found = (await rbd.allSnapshots(image)).find((snapshot) => snapshot.name === name);
  if (!found) throw new AppError("disk_not_found", `${image.pool}/${image.image} has no snapshot ${name}`);
  return found;
}

/** Every object that a clone has of its own. */
async function ownObjects(rbd: Rbd, layer: Layer): Promise<Marked> {
  const map = await mapOf(rbd, layer, layer.snapshot?.id);
  return { objectBytes: layer.info.objectBytes, count: map.count, has: (object) => map.stateOf(object) !== "nothing" };
}

/** What was written to an image between two points of its life. */
async function writtenBetween(rbd: Rbd, one: Layer, other: Layer, signal: AbortSignal | undefined): Promise<Marked> {
  if (one.snapshot?.id === other.snapshot?.id) return NONE;
  for (let attempt = 1; ; attempt++) {
    throwIfCancelled(signal);
    const listed = await rbd.allSnapshots(one.image);
    const maps = await mapsBetween(rbd, [one, other], listed).catch((error: unknown) => error);
    const isSettled = JSON.stringify(await rbd.allSnapshots(one.image)) === JSON.stringify(listed);
    if (isSettled && Array.isArray(maps)) return differences(maps as ObjectMap[], one.info.objectBytes);
    if (isSettled || attempt === ATTEMPTS_MAX) throw maps instanceof Error ? maps : new AppError("conflict", "snapshots of the image are being made all the time");
  }
}

/** The maps at both points, and at each snapshot between them, in order. */
async function mapsBetween(rbd: Rbd, [one, other]: readonly [Layer, Layer], listed: readonly RbdSnapshotInfo[]): Promise<ObjectMap[]> {
  const [first = 0, last = 0] = [one, other].map(({ snapshot }) => snapshot?.id ?? Number.POSITIVE_INFINITY).toSorted((a, b) => a - b);
  const between = listed.map(({ id }) => id).filter((id) => id >= first && id <= last).toSorted((a, b) => a - b);
  if (between[0] !== first) throw new AppError("disk_not_found", `${one.image.pool}/${one.image.image} has lost the snapshot that the two were to be compared by`);
  return Promise.all((last === Number.POSITIVE_INFINITY ? [...between, undefined] : between).map((id) => mapOf(rbd, one, id)));
}

function differences(maps: readonly ObjectMap[], objectBytes: number): Marked {
  const has = (object: number) => maps.some((map, index) => index > 0 && mayDiffer((maps[index - 1] as ObjectMap).stateOf(object), map.stateOf(object)));
  return { objectBytes, count: Math.max(...maps.map(({ count }) => count)), has };
}

/** As it was at a snapshot, or as it is now. Errors: `not_supported` where there is none that can be trusted. */
async function mapOf({ access }: Rbd, { image, info }: Layer, snapshotId: number | undefined): Promise<ObjectMap> {
  const where = `${image.pool}/${image.image}`;
  if (!info.features.includes("fast-diff")) throw new AppError("not_supported", `${where} has no object map: its feature fast-diff is off`);
  const hex = snapshotId?.toString(16).padStart(16, "0");
  const isValid = hex === undefined ? info.flags.length === 0 : isMapValid(await readOmapValue(access, image, `rbd_header.${info.id}`, `snapshot_${hex}`));
  if (!isValid) throw new AppError("not_supported", `the object map of ${where}, or of a snapshot of it, was lost: it was flattened, or a client was killed`);
  return parseObjectMap(await readObject(access, image, ["rbd_object_map", info.id, ...(hex === undefined ? [] : [hex])].join(".")));
}

async function* rangesOf(marked: Marked, range: ByteRange): AsyncIterable<ByteRange> {
  yield* joined(eachOf(marked, range));
}

async function* eachOf({ objectBytes, count, has }: Marked, { start, end }: ByteRange): AsyncIterable<ByteRange> {
  for (let object = Math.floor(start / objectBytes); object < Math.min(count, Math.ceil(end / objectBytes)); object++) {
    if (has(object)) yield { start: Math.max(start, object * objectBytes), end: Math.min(end, (object + 1) * objectBytes) };
    if (object % TURN_OBJECTS === 0) await nextTurn();
  }
}
