import { existsSync } from "node:fs";
import type { HypervisorConfig } from "#/config/hypervisor.ts";
import type { Log } from "#/lib/log.ts";
import type { HypervisorDriver } from "#/vm/driver.ts";

export interface OpenOptions {
  /** Names this installation to the hypervisor, over restarts: the same in all its processes, and no other's. */
  readonly owner: string;
  readonly log: Log;
}

/** A hypervisor, or in words why there is none. */
export type Hypervisor = { readonly driver: HypervisorDriver; readonly because?: undefined } | { readonly driver?: undefined; readonly because: string };

const SOCKETS = ["/run/libvirt/libvirt-sock", "/run/libvirt/virtqemud-sock"];

/** The configured hypervisor. Asks nothing of it yet: one that is down now is found when it comes back. */
export async function openHypervisor(config: HypervisorConfig, { owner, log }: OpenOptions): Promise<Hypervisor> {
  const { driver: kind, socketPath = SOCKETS.find((path) => existsSync(path)) } = config;
  if (kind === "none") return { because: "hypervisor.driver is none" };
  if (kind === "memory") {
    const { MemoryHypervisor } = await import("#/vm/memory/driver.ts");
    return { driver: new MemoryHypervisor() };
  }
  if (kind === "auto" && (socketPath === undefined || !existsSync(socketPath))) {
    return { because: `libvirt listens neither at ${config.socketPath ?? SOCKETS.join(" nor at ")}` };
  }
  const { LibvirtDriver } = await import("#/vm/libvirt/driver.ts");
  return { driver: new LibvirtDriver(config, { socketPath: socketPath ?? (SOCKETS[0] as string), owner, log }) };
}
