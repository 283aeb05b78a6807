import { readFile } from "node:fs/promises";

/** How often a mount has sent each NFS operation since it was mounted, failed ones not counted, by the names of RFC 7862: READ, COPY, … */
export type OperationCounts = ReadonlyMap<string, number>;

/** The client's own counters: what they say went over the wire. Empty where nothing of NFS is mounted there. */
export async function operationCounts(mountPoint: string): Promise<OperationCounts> {
  return parseMountStats(await readFile("/proc/self/mountstats", "utf8"), mountPoint);
}

/**
 * `/proc/self/mountstats`: a line `device SOURCE mounted on PATH with fstype nfs4 …`, then, among others, a line for each
 * operation: its name, how often it was sent, six more numbers, and, last, how often it failed.
 */
export function parseMountStats(text: string, mountPoint: string): OperationCounts {
  const counts = new Map<string, number>();
  let isOurs = false;
  for (const line of text.split("\n")) {
    if (line.startsWith("device ")) isOurs = line.includes(` mounted on ${mountPoint} with fstype nfs`);
    const [, name, numbers] = /^\s+([A-Z_]+): ([\d ]+)$/.exec(isOurs ? line : "") ?? [];
    if (name === undefined || numbers === undefined) continue;
    const [sent = 0, , , , , , , , failed = 0] = numbers.split(" ").map(Number);
    counts.set(name, sent - failed);
  }
  return counts;
}
