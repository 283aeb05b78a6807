import { constants } from "node:fs";
import { access } from "node:fs/promises";
import { AppError } from "#/domain/errors.ts";
import { SECOND_MS } from "#/lib/units.ts";
import { run } from "#/tools/run.ts";

export interface Acceleration {
  readonly virtType: "kvm" | "qemu";
  readonly virtTypeReason?: string | undefined;
}

/** A QEMU that cannot make a virtual processor ends at once; one that can would run for ever. */
const STARTED_MS = SECOND_MS;

/**
 * Whether guests can have KVM here. Libvirt says so wherever the device is; where this host is itself a guest it may be there and of no use. So a QEMU with
 * a virtual processor that does not run is started.
 */
export async function probeAcceleration(architecture: string): Promise<Acceleration> {
  try {
    await access("/dev/kvm", constants.R_OK | constants.W_OK);
  } catch (error) {
    return { virtType: "qemu", virtTypeReason: `KVM cannot be used: ${(error as Error).message}` };
  }
  const machine = architecture === "aarch64" ? "virt" : "pc";
  const args = ["-machine", `${machine},accel=kvm`, "-cpu", "host", "-S", "-nodefaults", "-no-user-config", "-display", "none"];
  const failure = await run(`qemu-system-${architecture}`, args, { timeoutMs: STARTED_MS }).catch((error: unknown) => error);
  if (failure instanceof AppError && failure.code === "tool_timed_out") return { virtType: "kvm" };
  return { virtType: "qemu", virtTypeReason: `KVM is there but does not work: ${failure instanceof Error ? failure.message : "QEMU ended at once"}` };
}
