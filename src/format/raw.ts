import { hasGptHeader, partitionsOf } from "./partitions.ts";
import { readHead, type Reading } from "./reading.ts";
import type { Report } from "./report.ts";

/**
 * A raw disk has no magic, so this never matches: raw is what remains. It looks for a partition table only.
 *
 * A whole GPT without its protective MBR entry is refused (as OpenStack does, oslo_utils format_inspector `gpt`):
 * firmware and old tools would see an empty disk where the rest see partitions. What is left of a GPT, with a
 * checksum that does not fit, says nothing and is passed over.
 */
export function* readRaw(report: Report): Reading {
  const head = yield* readHead(0, 4096 + 512);
  const partitions = partitionsOf(head.subarray(0, 512));
  const gpt = hasGptHeader(head);
  if (partitions !== "none") report.partitionTable = gpt && partitions === "protective" ? "gpt" : "mbr";
  report.expect(
    !gpt || partitions === "protective",
    "bad_field",
    "The disk has a GPT without the protective MBR that must stand before it: write it with sgdisk or fdisk, then upload again.",
  );
}
