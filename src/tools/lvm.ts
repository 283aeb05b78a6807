import { dirname } from "node:path";
import { AppError, type ErrorCode } from "#/domain/errors.ts";
import { KiB, MINUTE_MS } from "#/lib/units.ts";
import { run, ToolFailure } from "#/tools/run.ts";

/**
 * LVM 2.03 by its own programs: one start per call, arguments never by a shell, reports as JSON. A call that changes something
 * is one transaction of the group's metadata (lvm(8)); it is never killed, since it may have suspended a device just then.
 */

/** As much of `lvs` as a caller needs (lvs(8), `-o help`). */
export interface LogicalVolume {
  readonly name: string;
  readonly sizeBytes: number;
  readonly tags: readonly string[];
  /** The thin pool that it is in; undefined for a thick one, and for the pool itself. */
  readonly pool: string | undefined;
  readonly active: boolean;
  /** Somebody has its device open. */
  readonly open: boolean;
  readonly suspended: boolean;
  /** Of a thin pool or volume, with two decimals: how much has blocks. */
  readonly dataPercent: number | undefined;
  readonly metadataPercent: number | undefined;
  /** Empty, or what is wrong: `out_of_data`, `metadata_read_only`, `failed`, … */
  readonly health: string;
}

const VOLUME_FIELDS = "lv_name,lv_size,lv_tags,pool_lv,lv_active,lv_device_open,lv_suspended,data_percent,metadata_percent,lv_health_status";

export interface VolumeGroup {
  readonly uuid: string;
  readonly sizeBytes: number;
  readonly freeBytes: number;
  readonly extentBytes: number;
  /** Of all kinds, also others'. */
  readonly volumeCount: number;
}

const GROUP_FIELDS = "vg_uuid,vg_size,vg_free,vg_extent_size,lv_count";

export interface ThinPoolFacts {
  readonly group: VolumeGroup;
  readonly volume: LogicalVolume;
  /** The unit of sharing and of giving blocks. */
  readonly chunkBytes: number;
  /** New blocks read as zeroes where they were not written. */
  readonly zeroes: boolean;
}

/** What a call may take. Natively they take 30 ms; a crowd of them waits for the group's lock. */
const TIME_LIMIT_MS = 2 * MINUTE_MS;

/** The programs of LVM, on one volume group. Errors: `pool_full`, `pool_unavailable`, `conflict`, and as `run()`. */
export class Lvm {
  readonly group: string;
  readonly #environment: readonly string[];

  /** `confPath`: an `lvm.conf` of its own, found by LVM through its folder. */
  constructor(group: string, confPath?: string) {
    this.group = group;
    this.#environment = confPath === undefined ? [] : ["env", `LVM_SYSTEM_DIR=${dirname(confPath)}`];
  }

  /** The path of a volume's device: libdevmapper doubles dashes. */
  device(name: string): string {
    return `/dev/mapper/${dashed(this.group)}-${dashed(name)}`;
  }

  /** Those volumes that `selection` chooses (lvmreport(7)). */
  async volumes(selection: string): Promise<LogicalVolume[]> {
    return (await this.#report("lvs", "lv", ["-o", VOLUME_FIELDS, "-S", selection, this.group])).map(volumeOf);
  }

  async groupFacts(): Promise<VolumeGroup> {
    const [row = {}] = await this.#report("vgs", "vg", ["-o", GROUP_FIELDS, this.group]);
    return groupOf(row);
  }

  /** Undefined where there is no such pool. */
  async thinPool(name: string): Promise<ThinPoolFacts | undefined> {
    const fields = `${VOLUME_FIELDS},chunk_size,zero,${GROUP_FIELDS}`;
    const [row] = await this.#report("lvs", "lv", ["-o", fields, "-S", `lv_name=${name} && segtype=thin-pool`, this.group]);
    return row && { group: groupOf(row), volume: volumeOf(row), chunkBytes: Number(row["chunk_size"]), zeroes: row["zero"] === "zero" };
  }

  /** Runs one program that changes volumes: `change("lvchange", ["--addtag", "x"], "name")`. */
  async change(program: "lvcreate" | "lvextend" | "lvreduce" | "lvchange" | "lvremove", args: readonly string[], name?: string): Promise<void> {
    const target = name === undefined ? this.group : `${this.group}/${name}`;
    await this.#run(program, ["-qq", "-y", ...args, target]);
  }

  async #report(program: "lvs" | "vgs", kind: "lv" | "vg", args: readonly string[]): Promise<Record<string, string>[]> {
    const output = await this.#run(program, ["--reportformat", "json", "--units", "b", "--nosuffix", ...args]);
    try {
      return JSON.parse(output).report[0][kind];
    } catch (cause) {
      throw new AppError("tool_failed", `Cannot read what ${program} printed: ${output.slice(0, 4 * KiB)}`, { cause });
    }
  }

  async #run(program: string, args: readonly string[]): Promise<string> {
    const [file, ...rest] = [...this.#environment, program, ...args] as [string, ...string[]];
    try {
      return (await run(file, rest, { timeoutMs: TIME_LIMIT_MS, gentle: true, stdoutBytesMax: REPORT_BYTES_MAX })).stdout;
    } catch (error) {
      throw explain(error);
    }
  }
}

function groupOf(row: Readonly<Record<string, string>>): VolumeGroup {
  return {
    uuid: row["vg_uuid"] ?? "",
    sizeBytes: Number(row["vg_size"]),
    freeBytes: Number(row["vg_free"]),
    extentBytes: Number(row["vg_extent_size"]),
    volumeCount: Number(row["lv_count"]),
  };
}

function volumeOf(row: Readonly<Record<string, string>>): LogicalVolume {
  return {
    name: row["lv_name"] ?? "",
    sizeBytes: Number(row["lv_size"]),
    tags: row["lv_tags"] ? row["lv_tags"].split(",") : [],
    pool: row["pool_lv"] || undefined,
    active: row["lv_active"] === "active",
    open: row["lv_device_open"] === "open",
    suspended: row["lv_suspended"] === "suspended",
    dataPercent: percent(row["data_percent"]),
    metadataPercent: percent(row["metadata_percent"]),
    health: row["lv_health_status"] ?? "",
  };
}

/** 100,000 volumes: far more than LVM bears. */
const REPORT_BYTES_MAX = 32 * KiB * KiB;

function dashed(name: string): string {
  return name.replaceAll("-", "--");
}

function percent(text: string | undefined): number | undefined {
  return text ? Number(text) : undefined;
}

/** Whether `lvcreate` found another volume of that name. */
export function isTaken(error: unknown): boolean {
  return error instanceof AppError && error.cause instanceof ToolFailure && ALREADY_THERE.test(error.cause.stderr);
}

const ALREADY_THERE = /already exists in volume group/;

/** What LVM's words mean for a pool; they are the only thing that tells one exit status 5 from another. */
const MEANINGS: readonly (readonly [RegExp, ErrorCode])[] = [
  [/insufficient (free|suitable)|not enough free|reached threshold/i, "pool_full"],
  [/ in use\.| is used by another device/, "conflict"],
  [ALREADY_THERE, "conflict"],
  [/Volume group "[^"]*" not found|Cannot process volume group|[Pp]ermission denied|non-root user|Couldn't find device|could not be started/, "pool_unavailable"],
];

/** A failure of LVM's as what it means for a pool; all else as it is. */
export function explain(error: unknown): unknown {
  if (!(error instanceof AppError && error.code === "tool_failed" && error.cause instanceof ToolFailure)) return error;
  const said = `${error.cause.message} ${error.cause.stderr}`;
  const code = MEANINGS.find(([words]) => words.test(said))?.[1];
  return code ? new AppError(code, error.message, { cause: error.cause }) : error;
}
