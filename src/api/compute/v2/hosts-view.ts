import type { ComputeHost, HostRoom } from "#/app/compute-hosts.ts";
import { GiB, MiB } from "#/lib/units.ts";
import { preciseTimeView } from "./time.ts";

/** UUIDs as ids of services and hypervisors. */
const UUIDS_SINCE = 53;

export const BINARY = "nova-compute";

export const hostId = ({ service }: ComputeHost, minor: number): string | number => (minor >= UUIDS_SINCE ? service.id : service.number);

export const statusView = ({ service }: ComputeHost): string => (service.disabled ? "disabled" : "enabled");
const stateView = ({ isUp }: ComputeHost): string => (isUp ? "up" : "down");

/** As the hypervisor says; by the host's own name while it says nothing. */
export const hypervisorHostname = ({ service, facts }: ComputeHost): string => facts?.hostname ?? service.host;

export function serviceView(host: ComputeHost, minor: number, nowMs: number): object {
  const { service, zone, isUp } = host;
  return {
    id: hostId(host, minor),
    binary: BINARY,
    host: service.host,
    zone,
    status: statusView(host),
    state: stateView(host),
    updated_at: preciseTimeView(isUp ? nowMs : service.updated_at),
    disabled_reason: service.disabled_reason,
    ...(minor >= 11 && { forced_down: service.forced_down === 1 }),
  };
}

export function hypervisorView(host: ComputeHost, minor: number): object {
  return { id: hostId(host, minor), hypervisor_hostname: hypervisorHostname(host), state: stateView(host), status: statusView(host) };
}

/** What this process knows of its own machine. */
export interface Machine {
  readonly ip: string;
  /** As the program of that name says it. */
  readonly uptime: string;
}

export function hypervisorDetailView(host: ComputeHost, room: HostRoom, machine: Machine, minor: number): object {
  const { service, facts } = host;
  return {
    ...hypervisorView(host, minor),
    hypervisor_type: facts?.hypervisorType ?? "QEMU",
    hypervisor_version: facts?.hypervisorVersion ?? 0,
    host_ip: machine.ip,
    service: { id: hostId(host, minor), host: service.host, disabled_reason: service.disabled_reason },
    ...(minor < 88 && { ...resourcesView(host, room), cpu_info: cpuView(host, minor) }),
    ...(minor >= 88 && { uptime: facts ? machine.uptime : null }),
  };
}

/** Text until 2.27. */
function cpuView({ facts }: ComputeHost, minor: number): object | string {
  const cpu = facts ? { arch: facts.architecture, topology: { sockets: 1, cores: facts.vcpuCount, threads: 1 } } : {};
  return minor >= 28 ? cpu : JSON.stringify(cpu);
}

/** Whole MiB and GiB, rounded down; what is used may be more than there is. */
export function resourcesView({ facts }: ComputeHost, { use, diskTotalBytes, diskFreeBytes }: HostRoom) {
  const memoryMib = Math.floor((facts?.memoryBytes ?? 0) / MiB);
  const [diskGib, freeGib] = [Math.floor(diskTotalBytes / GiB), Math.floor(diskFreeBytes / GiB)];
  return {
    vcpus: facts?.vcpuCount ?? 0,
    vcpus_used: use.vcpus,
    memory_mb: memoryMib,
    memory_mb_used: use.ramMib,
    free_ram_mb: memoryMib - use.ramMib,
    local_gb: diskGib,
    local_gb_used: use.diskGib,
    free_disk_gb: diskGib - use.diskGib,
    disk_available_least: freeGib,
    current_workload: use.busy,
    running_vms: use.servers,
  };
}
