import type { ConsistencyLevel } from "#/domain/capture.ts";
import type { CaptureMethod } from "./plan.ts";

/** A server's guest, as far as it decides what its disks are like at one instant. */
export interface CapturedGuest {
  readonly state: "running" | "paused" | "suspended" | "off";
  /** It does not run since it shut down by itself; else it was cut off. */
  readonly shutDown: boolean;
  /** Its image says hw_qemu_guest_agent, and the agent has its port open. */
  readonly hasAgent: boolean;
  readonly agentConnected: boolean;
  /** servers.freezeMsMax: how long it may be held, in ms. */
  readonly freezeMsMax: number;
}

export interface ExpectedConsistency {
  readonly level: ConsistencyLevel;
  readonly because: string;
}

/** What the guest notices: nothing; its writes wait; it stands still for an instant; it is stopped while its disks are read. */
export type GuestEffect = "none" | "frozen" | "paused" | "stopped";

/** The level that a capture will reach where the guest does as it should; the saga says in the end which one it was. */
export function expectedConsistency(method: CaptureMethod, { state, shutDown, hasAgent, agentConnected }: CapturedGuest): ExpectedConsistency {
  if (state === "off" && shutDown) return { level: "application", because: "the guest has shut down, and its programs with it" };
  if (state === "off") return { level: "crash", because: "the guest had not shut down by itself" };
  if (state === "suspended" || method === "cold") return { level: "crash", because: "the guest's memory is not in the image" };
  if (state === "paused") return { level: "crash", because: "the guest is paused: its agent cannot freeze its file systems" };
  if (!hasAgent) return { level: "crash", because: "the server's image does not say hw_qemu_guest_agent=yes" };
  if (!agentConnected) return { level: "crash", because: "the guest is to have an agent, and it is not there" };
  return { level: "filesystem", because: "the agent in the guest is there, and freezes its file systems for the instant" };
}

/** `calls`: how many calls of storage and QEMU make the instant; several must find the guest still, and so must the end of a mirror. */
export function effectOnGuest(method: CaptureMethod, guest: CapturedGuest, calls: number): GuestEffect {
  if (guest.state === "off" || guest.state === "suspended") return "none";
  if (method === "cold") return "stopped";
  if (expectedConsistency(method, guest).level === "filesystem") return "frozen";
  return (calls > 1 || method === "live_mirror") && guest.state === "running" ? "paused" : "none";
}
