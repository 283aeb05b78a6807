import Type from "typebox";
import { MINUTE_MS, SECOND_MS } from "#/lib/units.ts";
import { text, whole } from "./option-types.ts";

/** Where servers run. */
export const HYPERVISOR_SCHEMA = Type.Object({
  driver: Type.Enum(["auto", "libvirt", "memory", "none"], {
    default: "auto",
    description: "`auto` is libvirt where its socket is there, else none: Mica starts without one, and says so when a server is asked for. `memory` runs nothing, for tests of clients.",
  }),
  uri: text({ default: "qemu:///system", description: "Which of libvirt's drivers. Nova's `[libvirt] connection_uri`." }),
  socketPath: Type.Optional(
    text({
      path: true,
      derived: "`/run/libvirt/libvirt-sock`, or `/run/libvirt/virtqemud-sock` where only that is there",
      description: "Where libvirt listens: its one daemon, or the one for QEMU alone.",
    }),
  ),
  virtType: Type.Enum(["auto", "kvm", "qemu"], {
    default: "auto",
    description: "`auto` is KVM where a guest really starts with it, else emulation (`qemu`), which is some ten times slower. Nova's `[libvirt] virt_type`.",
  }),
  cpuMode: Type.Enum(["host-model", "host-passthrough", "none"], {
    default: "host-model",
    description: "The processor that guests see with KVM; without KVM it is QEMU's `qemu64`. Nova's `[libvirt] cpu_mode`, and its default.",
  }),
  machineType: Type.Optional(
    text({
      derived: "`pc` on x86, `virt` on Arm",
      pattern: "^[a-z0-9._-]+$",
      says: "a machine of QEMU's",
      description: "The mainboard of servers whose image names none (`hw_machine_type`). Nova's `[libvirt] hw_machine_type`.",
    }),
  ),
  pciePortCount: Type.Integer({
    default: 16,
    minimum: 0,
    maximum: 28,
    description: "Ports of guests on `q35` and `virt` for disks that are attached later. Nova's `[libvirt] num_pcie_ports`, whose 0 leaves one.",
  }),
  callTimeoutMs: whole(30 * SECOND_MS, 100, {
    unit: "ms",
    description: "For each answer of libvirt's. Starting a guest takes about a second, and libvirt itself gives up on a hung one after 30.",
  }),
  saveTimeoutMs: whole(15 * MINUTE_MS, SECOND_MS, { unit: "ms", description: "For writing a guest's memory to disk, and reading it back: 64 GiB at 100 MB/s take 11 minutes." }),
  agentTimeoutMs: whole(10 * SECOND_MS, 100, { unit: "ms", description: "For each answer of the agent in a guest, and for how long a freeze may take. A guest that swaps needs seconds." }),
  shutdownGraceMs: whole(MINUTE_MS, 0, { unit: "ms", description: "A guest that is asked to shut down has so long before the plug is pulled. Nova's `shutdown_timeout`." }),
  detachTimeoutMs: whole(2 * MINUTE_MS, SECOND_MS, {
    unit: "ms",
    description: "A guest that is asked to let go of a disk has so long: one that boots does not listen yet. Nova's `device_detach_attempts` (8) times `device_detach_timeout` (20 s) is about that.",
  }),
  connectionsMax: whole(4, 1, { description: "Connections to libvirt, of five calls at once each, besides the one for events. libvirtd has 20 workers for all its clients." }),
  keepaliveIntervalMs: whole(5 * SECOND_MS, 100, { unit: "ms", description: "A silent libvirtd is asked so often for a sign of life. Libvirt's own `keepalive_interval`." }),
  keepaliveCountMax: whole(5, 1, { description: "And is given up after so many in vain. Libvirt's own `keepalive_count`." }),
  reconnectDelayMsMax: whole(5 * SECOND_MS, 100, { unit: "ms", description: "The longest pause between two attempts to get libvirt's events again; the first is 100 ms." }),
});
export type HypervisorConfig = Type.Static<typeof HYPERVISOR_SCHEMA>;
