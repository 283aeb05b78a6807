import { constants } from "node:fs";
import { access, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { AppError } from "#/domain/errors.ts";
import { makeTemporaryFolder } from "#/lib/temporary-folder.ts";
import { SECOND_MS } from "#/lib/units.ts";
import { run, ToolFailure } from "#/tools/run.ts";
import { bootProbe, EXIT_PORT, EXIT_STATUS } from "#/vm/libvirt/boot-probe.ts";

export interface Acceleration {
  readonly virtType: "kvm" | "qemu";
  readonly virtTypeReason?: string | undefined;
}

/**
 * Whether guests can have KVM here. Libvirt says so wherever the device is; where this host is itself a guest it may be there and of no use, or of use to
 * some programs only. So a guest is started.
 */
export async function probeAcceleration(architecture: string): Promise<Acceleration> {
  try {
    await access("/dev/kvm", constants.R_OK | constants.W_OK);
  } catch (error) {
    return { virtType: "qemu", virtTypeReason: `KVM cannot be used: ${(error as Error).message}` };
  }
  const trouble = architecture === "x86_64" ? await bootsWith("kvm") : await processorWithKvm(architecture);
  return trouble === undefined ? { virtType: "kvm" } : { virtType: "qemu", virtTypeReason: `KVM is there but does not work: ${trouble}` };
}

/** It takes 150 ms where the guest is emulated, and less with KVM. */
const BOOTED_MS = 5 * SECOND_MS;

/** Boots the smallest of guests; the trouble with that, or undefined. */
export async function bootsWith(accelerator: "kvm" | "tcg"): Promise<string | undefined> {
  const folder = await makeTemporaryFolder("boot");
  try {
    const disk = join(folder, "disk");
    await writeFile(disk, bootProbe());
    return await bootFrom(disk, accelerator);
  } finally {
    await rm(folder, { recursive: true });
  }
}

async function bootFrom(path: string, accelerator: "kvm" | "tcg"): Promise<string | undefined> {
  const disk = { driver: "raw", "node-name": "boot", "read-only": true, file: { driver: "file", filename: path } };
  const exit = `isa-debug-exit,iobase=${EXIT_PORT},iosize=1`;
  const args = [...guestOf("pc", accelerator), "-m", "32", "-device", exit, "-blockdev", JSON.stringify(disk), "-device", "floppy,drive=boot", "-boot", "a"];
  const broken = new AbortController();
  let trouble: string | undefined;
  const listen = (line: string) => {
    if (!/KVM internal error/.test(line)) return;
    trouble = `a guest that boots ends with "${line.trim()}"`;
    broken.abort(); // QEMU goes on, with a guest that does not.
  };
  const failure = await run("qemu-system-x86_64", args, { timeoutMs: BOOTED_MS, signal: broken.signal, onErrorLine: listen }).catch((error: unknown) => error);
  if (failure instanceof AppError && failure.cause instanceof ToolFailure && failure.cause.exitCode === EXIT_STATUS) return undefined;
  return trouble ?? troubleOf(failure);
}

/** A QEMU that cannot make a virtual processor ends at once; one that can would run for ever. */
const STARTED_MS = SECOND_MS;

async function processorWithKvm(architecture: string): Promise<string | undefined> {
  const args = [...guestOf(architecture === "aarch64" ? "virt" : "pc", "kvm"), "-S"];
  const failure = await run(`qemu-system-${architecture}`, args, { timeoutMs: STARTED_MS }).catch((error: unknown) => error);
  return failure instanceof AppError && failure.code === "tool_timed_out" ? undefined : troubleOf(failure);
}

function guestOf(machine: string, accelerator: "kvm" | "tcg"): string[] {
  return ["-machine", `${machine},accel=${accelerator}`, ...(accelerator === "kvm" ? ["-cpu", "host"] : []), "-nodefaults", "-no-user-config", "-display", "none"];
}

function troubleOf(failure: unknown): string {
  return failure instanceof Error ? failure.message : "QEMU ended at once";
}
