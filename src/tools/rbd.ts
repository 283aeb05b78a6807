import { AppError } from "#/domain/errors.ts";
import { HOUR_MS, KiB, MiB, SECOND_MS } from "#/lib/units.ts";
import { type Finished, run } from "#/tools/run.ts";

/** Ceph's `rbd` command line (16.2): one process per call, each with time limits, JSON where there is any. */
export interface RbdAccess {
  readonly confPath: string;
  /** Without `client.`. */
  readonly user: string;
  /** Ceph itself waits for ever for a monitor or an OSD that does not answer. */
  readonly opTimeoutMs: number;
}

/** An image; in a namespace where the pool has one. */
export interface RbdImage {
  readonly pool: string;
  readonly namespace?: string | undefined;
  readonly image: string;
}
export interface RbdSnapshot extends RbdImage {
  readonly snapshot: string;
}

export interface RbdInfo {
  /** Ceph's own, in the names of its objects. */
  readonly id: string;
  readonly sizeBytes: number;
  readonly objectBytes: number;
  readonly features: readonly string[];
  /** Others read through it, by clones of format 2. */
  readonly isCloned: boolean;
  readonly snapshots: number;
  /** What is wrong with its maps. */
  readonly flags: readonly string[];
  readonly parent: RbdSnapshot | undefined;
  /** Up to where it reads through its parent. */
  readonly overlapBytes: number;
}

export interface RbdListed {
  readonly image: string;
  /** The row is that of a snapshot. */
  readonly snapshot: string | undefined;
  readonly sizeBytes: number;
  readonly parent: RbdSnapshot | undefined;
}

/** A snapshot of an image, also one that is hidden, for clones that read it. */
export interface RbdSnapshotInfo {
  readonly id: number;
  readonly name: string;
  readonly sizeBytes: number;
}

export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
  /** From 0 to 1. */
  readonly onProgress?: ((fraction: number) => void) | undefined;
}

/** Whatever else the cluster has as its default: flatten depends on these. */
const FEATURES = "layering,exclusive-lock,deep-flatten";
/** Usage and holes are known without looking at each object. In the order in which they can be disabled. */
export const MAPS = ["fast-diff", "object-map"];

export interface NewImage {
  readonly objectSizeBytes: number;
  readonly maps: boolean;
}
/** A killed client keeps its lock for 30 s (`osd_client_watch_timeout`), and changes wait for that. */
const LOCK_MS_MAX = 45 * SECOND_MS;
/** For calls that move bytes: some TiB at the speed of a slow cluster. */
const LONG_MS_MAX = 12 * HOUR_MS;
/** Listings of some hundred thousand images. */
const LISTING_BYTES_MAX = 64 * MiB;

export class Rbd {
  readonly access: RbdAccess;

  constructor(access: RbdAccess) {
    this.access = access;
  }

  async info(image: RbdImage | RbdSnapshot): Promise<RbdInfo> {
    const json = await this.#json(["info", anySpec(image)]);
    return {
      id: String(json["id"]),
      sizeBytes: Number(json["size"]),
      objectBytes: Number(json["object_size"]),
      flags: strings(json["flags"]),
      features: strings(json["features"]),
      isCloned: strings(json["op_features"]).includes("clone-parent"),
      snapshots: Number(json["snapshot_count"]),
      parent: parentOf(json["parent"]),
      overlapBytes: Number((json["parent"] as { overlap?: number } | undefined)?.overlap ?? 0),
    };
  }

  /** Bytes that the image and its snapshots take, in whole objects. */
  async usedBytes(image: RbdImage | RbdSnapshot): Promise<number> {
    const json = await this.#json(["du", anySpec(image)]);
    return rows(json["images"]).reduce((sum, row) => sum + Number(row["used_size"]), 0);
  }

  /** The same for every image of a pool or namespace, by name. */
  async usedBytesOfAll({ pool, namespace }: Omit<RbdImage, "image">): Promise<Map<string, number>> {
    const json = await this.#json(["du", "--pool", pool, ...(namespace ? ["--namespace", namespace] : [])]);
    const used = new Map<string, number>();
    for (const row of rows(json["images"])) used.set(String(row["name"]), (used.get(String(row["name"])) ?? 0) + Number(row["used_size"]));
    return used;
  }

  /** Images and their snapshots, each a row. */
  async list({ pool, namespace }: Omit<RbdImage, "image">): Promise<RbdListed[]> {
    const json = await this.#json(["ls", "--long", namespace ? `${pool}/${namespace}` : pool]);
    return rows(json).map((row) => ({
      image: String(row["image"]),
      snapshot: row["snapshot"] === undefined ? undefined : String(row["snapshot"]),
      sizeBytes: Number(row["size"]),
      parent: parentOf(row["parent"]),
    }));
  }

  /** Whether the pool, and the namespace, are there and may be read. */
  async assertPool({ pool, namespace }: Omit<RbdImage, "image">): Promise<void> {
    await this.#json(["ls", namespace ? `${pool}/${namespace}` : pool]);
  }

  async create(image: RbdImage, sizeBytes: number, { objectSizeBytes, maps, ...options }: CallOptions & NewImage): Promise<void> {
    await this.#run(["create", "--size", `${sizeBytes}B`, ...kind({ objectSizeBytes, maps }), spec(image)], options);
  }

  async clone(source: RbdSnapshot, target: RbdImage, { format, objectSizeBytes, maps, ...options }: CallOptions & NewImage & { format: number }): Promise<void> {
    await this.#run(["clone", "--rbd-default-clone-format", String(format), ...kind({ objectSizeBytes, maps }), snapshotSpec(source), spec(target)], options);
  }

  /** A full copy of what the source holds, holes left out; its snapshots and their protection stay behind, as they would not in `deep cp`. */
  async copy(source: RbdImage | RbdSnapshot, target: RbdImage, options: CallOptions = {}): Promise<void> {
    await this.#long(["copy", anySpec(source), spec(target)], options);
  }

  async flatten(image: RbdImage, options: CallOptions = {}): Promise<void> {
    await this.#long(["flatten", spec(image)], options);
  }

  async disableFeatures(image: RbdImage, features: readonly string[]): Promise<void> {
    await this.#run(["feature", "disable", spec(image), ...features]);
  }

  async enableFeatures(image: RbdImage, features: readonly string[]): Promise<void> {
    await this.#run(["feature", "enable", spec(image), ...features]);
  }

  async rebuildObjectMap(image: RbdImage): Promise<void> {
    await this.#long(["object-map", "rebuild", spec(image)]);
  }

  async resize(image: RbdImage, sizeBytes: number, { shrink, ...options }: CallOptions & { shrink?: boolean } = {}): Promise<void> {
    await this.#run(["resize", "--no-progress", "--size", `${sizeBytes}B`, ...(shrink ? ["--allow-shrink"] : []), spec(image)], options);
  }

  async rename(image: RbdImage, name: RbdImage): Promise<void> {
    await this.#run(["rename", spec(image), spec(name)]);
  }

  async remove(image: RbdImage): Promise<void> {
    await this.#long(["rm", "--no-progress", spec(image)]);
  }

  async createSnapshot(snapshot: RbdSnapshot, options: CallOptions = {}): Promise<void> {
    await this.#run(["snap", "create", "--no-progress", snapshotSpec(snapshot)], options);
  }

  async removeSnapshot(snapshot: RbdSnapshot): Promise<void> {
    await this.#run(["snap", "rm", "--no-progress", snapshotSpec(snapshot)]);
  }

  async protect(snapshot: RbdSnapshot): Promise<void> {
    await this.#run(["snap", "protect", snapshotSpec(snapshot)]);
  }

  async unprotect(snapshot: RbdSnapshot): Promise<void> {
    await this.#run(["snap", "unprotect", snapshotSpec(snapshot)]);
  }

  /** The snapshots that have a name of their own. */
  async snapshots(image: RbdImage): Promise<{ name: string; isProtected: boolean }[]> {
    const json = await this.#json(["snap", "ls", spec(image)]);
    return rows(json).map((row) => ({ name: String(row["name"]), isProtected: String(row["protected"]) === "true" }));
  }

  /** All of them, in no order. */
  async allSnapshots(image: RbdImage): Promise<RbdSnapshotInfo[]> {
    return rows(await this.#json(["snap", "ls", "--all", spec(image)])).map((row) => ({ id: Number(row["id"]), name: String(row["name"]), sizeBytes: Number(row["size"]) }));
  }

  async setMetadata(image: RbdImage, key: string, value: string): Promise<void> {
    await this.#run(["image-meta", "set", spec(image), key, value]);
  }

  /** Fails with ENOENT where there is no such key. Clones and copies take the metadata with them. */
  async metadata(image: RbdImage, key: string): Promise<string> {
    return (await this.#run(["image-meta", "get", spec(image), key])).stdout.trim();
  }

  async locks(image: RbdImage): Promise<{ id: string; locker: string }[]> {
    const json = await this.#json(["lock", "ls", spec(image)]);
    return rows(json).map((row) => ({ id: String(row["id"]), locker: String(row["locker"]) }));
  }

  /** Also keeps the client that had the lock from ever writing again. */
  async breakLock(image: RbdImage, { id, locker }: { id: string; locker: string }): Promise<void> {
    await this.#run(["lock", "rm", spec(image), id, locker]);
  }

  async moveToTrash(image: RbdImage, expiresAt: Date): Promise<void> {
    await this.#run(["trash", "mv", "--expires-at", expiresAt.toISOString(), spec(image)]);
  }

  /** Removes the images in the trash whose time is over. */
  async purgeTrash({ pool, namespace }: Omit<RbdImage, "image">): Promise<void> {
    await this.#long(["trash", "purge", "--no-progress", namespace ? `${pool}/${namespace}` : pool]);
  }

  async #json(args: readonly string[]): Promise<Record<string, unknown>> {
    const { stdout } = await this.#run([...args, "--format", "json"]);
    try {
      return JSON.parse(stdout) as Record<string, unknown>;
    } catch (cause) {
      throw new AppError("tool_failed", `Cannot read what rbd ${args[0]} printed: ${stdout.slice(0, 4 * KiB)}`, { cause });
    }
  }

  async #long(args: readonly string[], { signal, onProgress }: CallOptions = {}): Promise<void> {
    await this.#run(args, { signal, onProgress }, LONG_MS_MAX);
  }

  #run(args: readonly string[], { signal, onProgress }: CallOptions = {}, timeoutMs = 2 * this.access.opTimeoutMs + LOCK_MS_MAX): Promise<Finished> {
    const onErrorLine = onProgress && ((line: string) => reportProgress(line, onProgress));
    return run("rbd", [...accessArguments(this.access), ...args], { timeoutMs, signal, onErrorLine, stdoutBytesMax: LISTING_BYTES_MAX });
  }
}

/** What every Ceph program takes: whom to ask, as whom, and how long. */
export function accessArguments({ confPath, user, opTimeoutMs }: RbdAccess): string[] {
  const limits = Object.entries(timeLimits(opTimeoutMs)).map(([name, seconds]) => `--${name.replaceAll("_", "-")}=${seconds}`);
  return ["--conf", confPath, "--id", user, ...limits];
}

/** Ceph's own settings, in whole seconds, for its programs and for librbd inside of QEMU. */
export function timeLimits(opTimeoutMs: number): Record<string, string> {
  const seconds = String(Math.ceil(opTimeoutMs / SECOND_MS));
  return { rados_osd_op_timeout: seconds, rados_mon_op_timeout: seconds, client_mount_timeout: seconds };
}

function kind({ objectSizeBytes, maps }: NewImage): string[] {
  return ["--object-size", `${objectSizeBytes}B`, "--image-feature", [FEATURES, ...(maps ? MAPS.toReversed() : [])].join(",")];
}

function spec({ pool, namespace, image }: RbdImage): string {
  return [pool, ...(namespace ? [namespace] : []), image].join("/");
}

function snapshotSpec({ snapshot, ...image }: RbdSnapshot): string {
  return `${spec(image)}@${snapshot}`;
}

function anySpec(image: RbdImage | RbdSnapshot): string {
  return "snapshot" in image ? snapshotSpec(image) : spec(image);
}

function parentOf(json: unknown): RbdSnapshot | undefined {
  if (typeof json !== "object" || json === null) return undefined;
  const { pool, pool_namespace: namespace, image, snapshot } = json as Record<string, string>;
  return { pool: pool ?? "", namespace: namespace || undefined, image: image ?? "", snapshot: snapshot ?? "" };
}

function rows(json: unknown): Record<string, unknown>[] {
  return Array.isArray(json) ? (json as Record<string, unknown>[]) : [];
}

function strings(json: unknown): string[] {
  return Array.isArray(json) ? json.map(String) : [];
}

/** `Image flatten: 33% complete...` */
function reportProgress(line: string, onProgress: (fraction: number) => void): void {
  const percent = /: (\d+)% complete/.exec(line)?.[1];
  if (percent) onProgress(Number(percent) / 100);
}
