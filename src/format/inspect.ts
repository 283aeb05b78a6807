import { AppError } from "#/domain/errors.ts";
import { readIso } from "./iso.ts";
import { readLuks } from "./luks.ts";
import { readQcow2 } from "./qcow2.ts";
import { readQed } from "./qed.ts";
import { readRaw } from "./raw.ts";
import { HEAD_BYTES, type Reading, TAIL_BYTES } from "./reading.ts";
import { Report, type Rule } from "./report.ts";
import { Head, StreamReader, Tail } from "./stream-reader.ts";
import { readVdi } from "./vdi.ts";
import { readVhd } from "./vhd.ts";
import { readVhdx } from "./vhdx.ts";
import { readVmdk } from "./vmdk.ts";

/**
 * What a stream of bytes is as a disk, found out while it passes: its format, its virtual size, and every reason not to
 * let a tool near it. Uploaded and guest-written bytes are hostile, so this runs before anything else reads them.
 *
 * All formats are looked for at once, each by a reading of its own (reading.ts). Nothing here does I/O, keeps more
 * than RETAINED_MAX_BYTES, or throws on any content; and the answer does not depend on how the stream is cut.
 */

/** Formats by the names of OpenStack's disk_format; luks and qed are known to be recognised. */
export type DiskFormat = "raw" | "qcow2" | "vmdk" | "vhd" | "vhdx" | "vdi" | "iso" | "luks" | "qed";

/** A reason to refuse the content. `format` is the reading of the bytes in which it holds; none: in every reading. */
export interface Problem {
  readonly rule: Rule;
  readonly message: string;
  readonly format?: DiskFormat;
}

export interface Inspection {
  /** What the content is. Where two formats match, the one that a reader would find first. */
  readonly format: DiskFormat;
  /** What a guest sees: from the header, or all bytes for raw, iso and luks. */
  readonly virtualSizeBytes: number;
  readonly sizeBytes: number;
  /** Of raw disks and (hybrid) ISO images. */
  readonly partitionTable?: "mbr" | "gpt";
  readonly problems: readonly Problem[];
}

const READINGS: Readonly<Record<DiskFormat, (report: Report) => Reading>> = {
  qcow2: readQcow2,
  vmdk: readVmdk,
  vhdx: readVhdx,
  vhd: readVhd,
  qed: readQed,
  vdi: readVdi,
  luks: readLuks,
  iso: readIso,
  raw: readRaw,
};
const FORMATS = Object.keys(READINGS) as readonly DiskFormat[];
/** Formats whose bytes are the disk itself: its size is theirs, and they may be taken as raw. */
const PLAIN: readonly DiskFormat[] = ["raw", "iso", "luks"];

/** The most that one inspector keeps of a stream: head, tail, and one wish of each reading. */
export const RETAINED_MAX_BYTES = 1024 * 1024;

export class StreamInspector {
  readonly #head = new Head();
  readonly #tail = new Tail();
  readonly #reports = new Map<DiskFormat, Report>();
  readonly #readers = new Map<DiskFormat, StreamReader>();
  #position = 0;
  #inspection: Inspection | undefined;

  constructor() {
    for (const format of FORMATS) {
      const report = new Report();
      this.#reports.set(format, report);
      this.#readers.set(format, new StreamReader(READINGS[format](report), this.#head));
    }
  }

  /** Takes the next bytes of the stream. They are copied where they are needed, so the buffer may be used again. */
  update(chunk: Uint8Array): void {
    if (this.#inspection) throw new Error("Broken invariant: the stream was finished");
    for (let taken = 0; taken < chunk.length; ) {
      const piece = chunk.subarray(taken, taken + (this.#nextDue() - this.#position));
      this.#take(piece);
      taken += piece.length;
    }
    this.#tail.take(chunk);
  }

  /**
   * Where the next bytes lie that anything here wants, for content that can be read at random; `sizeBytes` is all of it, and the
   * answer at its end. What lies before may be skipped: the result is the same.
   */
  wantedFrom(sizeBytes: number): number {
    if (this.#position < HEAD_BYTES) return Math.min(this.#position, sizeBytes);
    let wanted = Math.max(this.#position, sizeBytes - TAIL_BYTES);
    for (const reader of this.#readers.values()) wanted = Math.min(wanted, Math.max(this.#position, reader.wantsFrom));
    return Math.min(wanted, sizeBytes);
  }

  /** Goes on at `offset` without the bytes before it, which `wantedFrom()` allows. */
  skipTo(offset: number): void {
    if (offset === this.#position) return;
    this.#position = offset;
    this.#tail.clear();
  }

  /** The stream has ended: what it was. */
  finish(): Inspection {
    this.#inspection ??= this.#conclude();
    return this.#inspection;
  }

  /** The first reason found so far that refuses the content under every disk_format; it never goes away. */
  get refusedEarly(): Problem | undefined {
    return this.problems.find(({ format }) => format !== "raw" && format !== "iso");
  }

  /** All reasons found so far. */
  get problems(): readonly Problem[] {
    const found = [...this.#reports]
      .filter(([format]) => format !== "raw" || this.#isRaw())
      .flatMap(([format, { problems }]) => problems.map((problem) => ({ ...problem, format })));
    const matches = this.#matches();
    if (matches.length < 2) return found;
    return [
      ...found,
      {
        rule: "polyglot",
        message: `The content is ${matches.join(" and ")} at once, so that readers would differ about it: make a clean copy with qemu-img convert.`,
      },
    ];
  }

  /** The formats that the content can still turn out to be. */
  get possibleFormats(): readonly DiskFormat[] {
    const [match] = this.#matches();
    if (match && !PLAIN.includes(match)) return [match];
    return FORMATS.filter((format) =>
      format === "raw" ? match === undefined : this.#report(format).matched || !this.#readers.get(format)?.done,
    );
  }

  /** Bytes of the stream that are held now, for proof of the bound. */
  get retainedBytes(): number {
    return [this.#head, this.#tail, ...this.#readers.values()].reduce((sum, { retainedBytes }) => sum + retainedBytes, 0);
  }

  /** Nothing else, as far as can be known: a hybrid ISO image has its own idea of partition tables. */
  #isRaw(): boolean {
    const possible = this.possibleFormats;
    return possible.includes("raw") && !possible.includes("iso") && !possible.includes("luks");
  }

  #nextDue(): number {
    let due = Number.POSITIVE_INFINITY;
    for (const reader of this.#readers.values()) due = Math.min(due, reader.dueAt);
    return due;
  }

  #take(piece: Uint8Array): void {
    this.#head.take(piece);
    for (const reader of this.#readers.values()) reader.take(piece, this.#position);
    this.#position += piece.length;
    for (const reader of this.#readers.values()) reader.advance(this.#position);
  }

  #conclude(): Inspection {
    const sizeBytes = this.#position;
    for (const reader of this.#readers.values()) reader.finish({ sizeBytes, tail: this.#tail.bytes });
    const format = this.#matches()[0] ?? "raw";
    const { partitionTable } = this.#report("raw");
    return {
      format,
      sizeBytes,
      virtualSizeBytes: PLAIN.includes(format) ? sizeBytes : this.#report(format).virtualSizeBytes,
      ...(partitionTable && (format === "raw" || format === "iso") ? { partitionTable } : {}),
      problems: this.problems,
    };
  }

  #matches(): readonly DiskFormat[] {
    return FORMATS.filter((format) => this.#report(format).matched);
  }

  #report(format: DiskFormat): Report {
    return this.#reports.get(format) as Report;
  }
}

/** Which content each disk_format may have. Kernels and ramdisks (aki, ari) are plain bytes; hybrid ISO images are disks. */
const ACCEPTED: ReadonlyMap<string, readonly DiskFormat[]> = new Map([
  ...["raw", "ami", "ari", "aki"].map((claim) => [claim, PLAIN] as const),
  ...(["qcow2", "vmdk", "vhd", "vhdx", "vdi", "iso", "luks"] as const).map((format) => [format, [format]] as const),
]);

/** Why content that was inspected cannot be taken as `claimedFormat` (a disk_format); undefined where it can. */
export function refusal(inspection: Inspection, claimedFormat: string): AppError | undefined {
  return refusalOf(claimedFormat, inspection.problems, [inspection.format]);
}

/** The same as far as it is certain before the stream has ended, so that an upload can be cut off. Cheap enough to ask after each chunk. */
export function earlyRefusal(inspector: StreamInspector, claimedFormat: string): AppError | undefined {
  return refusalOf(claimedFormat, inspector.problems, inspector.possibleFormats);
}

function refusalOf(claim: string, problems: readonly Problem[], formats: readonly DiskFormat[]): AppError | undefined {
  const accepted = ACCEPTED.get(claim);
  if (!accepted)
    return new AppError(
      "unsupported_media",
      `Cannot take an image as ${JSON.stringify(claim.slice(0, 32))}: this disk_format is not supported. Use one of ${[...ACCEPTED.keys()].join(", ")}.`,
    );

  const problem = problems.find(({ format }) => matters(format, accepted));
  if (problem) return new AppError("image_unsafe", `Cannot take the image as ${claim}: ${problem.message}`);
  if (formats.some((format) => accepted.includes(format))) return undefined;
  return new AppError("image_format_mismatch", `Cannot take the image as ${claim}: ${mismatch(claim, formats)}`);
}

/** What is wrong with a disk as such, or with an ISO image as such, is of no account if it is taken as the other. */
function matters(format: DiskFormat | undefined, accepted: readonly DiskFormat[]): boolean {
  if (format === "raw") return accepted.includes("raw");
  if (format === "iso") return !accepted.includes("raw");
  return true;
}

function mismatch(claim: string, formats: readonly DiskFormat[]): string {
  const [content, ...others] = formats;
  if (content === undefined || others.length > 0) return `its content is not ${claim}. Set disk_format to the format that it has.`;
  return `its content is ${content}. Set disk_format to ${content}.`;
}
