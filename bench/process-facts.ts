import { readFile, writeFile } from "node:fs/promises";
import { KiB, MiB } from "#/lib/units.ts";

/** The memory of a process (proc_pid_status(5)): resident now, and the most since the last reset; MiB. */
export async function memoryOf(pid: number): Promise<{ readonly residentMib: number; readonly peakMib: number }> {
  const status = await readFile(`/proc/${pid}/status`, "utf8");
  const field = (name: string) => (Number(new RegExp(`${name}:\\s+(\\d+) kB`).exec(status)?.[1]) * KiB) / MiB;
  return { residentMib: field("VmRSS"), peakMib: field("VmHWM") };
}

/** Processor time that a process has used so far, user and system (proc_pid_stat(5), fields 14 and 15; USER_HZ is 100). */
export async function processorMsOf(pid: number): Promise<number> {
  const fields = (await readFile(`/proc/${pid}/stat`, "utf8")).split(") ")[1]?.split(" ") ?? [];
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

/** From here on the peak counts anew (proc_pid_clear_refs(5), 5). */
export async function resetPeak(pid: number): Promise<void> {
  await writeFile(`/proc/${pid}/clear_refs`, "5");
}
