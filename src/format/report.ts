import { formatBytes, GiB } from "#/lib/units.ts";
import { partitionsOf } from "./partitions.ts";

/** Why content is refused; a word for programs and metrics, beside the message for people. */
export type Rule =
  | "backing_file" // the disk's other half is in a file or device that the header names
  | "data_file"
  | "parent"
  | "outside_extent"
  | "encrypted"
  | "corrupt" // marked so by its writer, or a checksum does not fit
  | "unclean" // a log must be replayed before the content is right
  | "unknown_feature"
  | "unsupported_kind"
  | "bad_field" // sizes, offsets and counts that cannot be
  | "too_big"
  | "truncated"
  | "polyglot"; // two formats in one file: readers would differ about its content

/**
 * The most that a disk may hold: the limit of VHDX, far above the 16 TiB of ext4 with 4 KiB blocks on 32 bits, and
 * low enough that every size and offset is an exact number.
 */
const VIRTUAL_SIZE_MAX_BYTES = 64 * 1024 * GiB;

const SECTOR_BYTES = 512;

/** What one format's parser found out. It grows while the stream goes by; nothing in it is ever taken back. */
export class Report {
  matched = false;
  virtualSizeBytes = 0;
  partitionTable: "mbr" | "gpt" | undefined;
  readonly problems: { readonly rule: Rule; readonly message: string }[] = [];

  /**
   * The content has this format's magic. `firstSector` is given by formats to which it belongs: it must be whole, and
   * none of them puts partitions there, so a partition table means that somebody wants the file to be read as two
   * things. Answers whether the sector can be read on.
   */
  match(firstSector?: Uint8Array): boolean {
    this.matched = true;
    if (firstSector === undefined) return true;
    this.expect(
      partitionsOf(firstSector) === "none",
      "polyglot",
      "The header also holds a partition table: make a clean copy with qemu-img convert.",
    );
    return this.expect(firstSector.length === SECTOR_BYTES, "truncated", "The file ends within its header: upload the whole file.");
  }

  /** Refuses the content where `fine` is false. Answers `fine`, for parsers that cannot go on without. */
  expect(fine: boolean, rule: Rule, message: string): boolean {
    if (!fine) this.problems.push({ rule, message });
    return fine;
  }

  /** Sets the size that the guest sees, within the limit. */
  setVirtualSize(bytes: number): void {
    this.virtualSizeBytes = bytes;
    this.expect(
      bytes <= VIRTUAL_SIZE_MAX_BYTES,
      "too_big",
      `The header claims a disk of ${formatBytes(bytes)}, and the limit is ${formatBytes(VIRTUAL_SIZE_MAX_BYTES)}: make the disk smaller, or correct the header.`,
    );
  }

  /** Refuses a part that the header places outside of the file. */
  expectInside(what: string, endBytes: number, sizeBytes: number): boolean {
    return this.expect(
      endBytes <= sizeBytes,
      "truncated",
      `The ${what} ends at byte ${endBytes}, and the file has ${sizeBytes}: upload the whole file.`,
    );
  }
}
