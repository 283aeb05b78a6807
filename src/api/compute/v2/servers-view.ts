import { createHash } from "node:crypto";
import type { Page } from "#/app/lists.ts";
import type { Server } from "#/app/servers.ts";
import { type ServerFlavor, statusOf } from "#/domain/server.ts";
import type { ServerFault } from "#/domain/server-fault.ts";
import { preciseTimeView, timeView } from "./time.ts";
import type { Viewer } from "./viewer.ts";

/** What the short list has. */
export function serverSummaryView({ id, name }: Server, viewer: Viewer): object {
  return { id, name, links: viewer.links("servers", id) };
}

/** All that its user may see. nova/api/openstack/compute/views/servers.py. */
export function serverView(server: Server, viewer: Viewer): object {
  return { ...basicView(server, viewer), ...extendedView(server, viewer) };
}

/** What a change answers: since 2.75 the same as show. */
export function changedServerView(server: Server, viewer: Viewer): object {
  return viewer.minor >= 75 ? serverView(server, viewer) : basicView(server, viewer);
}

/** What a rebuild answers: with what it may have given anew. */
export function rebuiltServerView(server: Server, viewer: Viewer): object {
  const { minor } = viewer;
  return {
    ...changedServerView(server, viewer),
    ...(minor >= 54 && { key_name: server.key_name }),
    ...(minor >= 57 && { user_data: server.user_data }),
  };
}

/** What a create, a rebuild and a rescue answer once. */
export function passwordView(adminPassword: string | undefined): object {
  return adminPassword === undefined ? {} : { adminPass: adminPassword };
}

/** What a create answers. */
export function createdServerView({ id, disk_config }: Server, viewer: Viewer): object {
  return { id, links: viewer.links("servers", id), "OS-DCF:diskConfig": disk_config, security_groups: SECURITY_GROUPS };
}

/** A page: `servers`, and `servers_links` where there is more. */
export function serverPageView({ records, more }: Page<Server>, viewer: Viewer, view: typeof serverView): object {
  const links = viewer.nextLinks(more ? records.at(-1)?.id : undefined);
  return { servers: records.map((server) => view(server, viewer)), ...(links && { servers_links: links }) };
}

/** Nothing filters what guests send; clients look for the one group that always is. */
const SECURITY_GROUPS = [{ name: "default" }];

/** Only these have a progress. */
const PROGRESSING: ReadonlySet<string> = new Set(["ACTIVE", "BUILD", "REBUILD", "RESIZE", "VERIFY_RESIZE", "SHELVED", "PAUSED", "SHUTOFF", "SUSPENDED"]);

function basicView(server: Server, viewer: Viewer) {
  const { minor } = viewer;
  const status = statusOf({ vmState: server.vm_state, taskState: server.task_state });
  return {
    id: server.id,
    name: server.name,
    status,
    tenant_id: server.project_id,
    user_id: server.user_id,
    metadata: server.metadata,
    hostId: server.vm_state === "shelved_offloaded" ? "" : hostIdOf(server),
    image: imageView(server, viewer),
    flavor: flavorView(server, viewer),
    created: timeView(server.created_at),
    updated: timeView(server.updated_at),
    addresses: {},
    accessIPv4: server.access_ip_v4 ?? "",
    accessIPv6: server.access_ip_v6 ?? "",
    links: viewer.links("servers", server.id),
    "OS-DCF:diskConfig": server.disk_config,
    ...(PROGRESSING.has(status) && { progress: progressOf(server, status) }),
    ...(status === "ERROR" && server.fault && { fault: faultView(server.fault, viewer) }),
    ...(minor >= 9 && { locked: server.locked_by !== null }),
    ...(minor >= 19 && { description: server.description }),
    ...(minor >= 26 && { tags: server.tags }),
    ...(minor >= 63 && { trusted_image_certificates: null }),
    ...(minor >= 71 && { server_groups: server.groupId === null ? [] : [server.groupId] }),
    ...(minor >= 73 && { locked_reason: server.locked_reason }),
    ...(minor >= 100 && { scheduler_hints: server.hints }),
  };
}

/** What Nova's extensions once added. */
function extendedView(server: Server, viewer: Viewer) {
  const { minor } = viewer;
  return {
    config_drive: server.config_drive ? "True" : "",
    key_name: server.key_name,
    "OS-EXT-AZ:availability_zone": server.availability_zone,
    "OS-EXT-STS:task_state": server.task_state,
    "OS-EXT-STS:vm_state": server.vm_state,
    "OS-EXT-STS:power_state": server.power_state,
    "OS-SRV-USG:launched_at": server.launched_at === null ? null : preciseTimeView(server.launched_at),
    "OS-SRV-USG:terminated_at": null,
    "os-extended-volumes:volumes_attached": volumesView(server, minor),
    ...(server.network !== "none" && { security_groups: SECURITY_GROUPS }),
    ...(viewer.isAdmin && adminView(server, minor)),
    ...(minor >= 90 && { "OS-EXT-SRV-ATTR:hostname": server.hostname }),
    ...(minor >= 96 && { pinned_availability_zone: null }),
  };
}

function adminView(server: Server, minor: number) {
  const root = server.devices.find(({ boot_index }) => boot_index === 0);
  const host = server.vm_state === "shelved_offloaded" ? null : server.host;
  return {
    "OS-EXT-SRV-ATTR:host": host,
    "OS-EXT-SRV-ATTR:hypervisor_hostname": host,
    "OS-EXT-SRV-ATTR:instance_name": `mica-${server.id}`,
    ...(minor >= 3 && {
      "OS-EXT-SRV-ATTR:reservation_id": server.reservation_id,
      "OS-EXT-SRV-ATTR:launch_index": server.launch_index,
      "OS-EXT-SRV-ATTR:hostname": server.hostname,
      "OS-EXT-SRV-ATTR:kernel_id": "",
      "OS-EXT-SRV-ATTR:ramdisk_id": "",
      "OS-EXT-SRV-ATTR:root_device_name": root ? `/dev/${root.target}` : null,
      "OS-EXT-SRV-ATTR:user_data": server.user_data,
    }),
    ...(minor >= 16 && { host_status: host === null ? "" : "UP" }),
  };
}

function volumesView({ devices }: Server, minor: number): object[] {
  const volumes = devices.filter(({ volume_id }) => volume_id !== null);
  return volumes.map(({ volume_id, delete_on_termination }) => ({ id: volume_id, ...(minor >= 3 && { delete_on_termination: delete_on_termination === 1 }) }));
}

/** Empty for servers that boot from volumes. */
function imageView({ image_id, image_properties }: Server, viewer: Viewer): object | string {
  if (image_id === null) return "";
  return { id: image_id, links: viewer.bookmark("images", image_id), ...(viewer.minor >= 98 && { properties: JSON.parse(image_properties) }) };
}

/** The flavor as it was when the server got it, from 2.47 on; before, where one of that id would be. */
function flavorView({ flavor }: Server, viewer: Viewer): object {
  const { id, name, vcpus, ramMib, diskGib, ephemeralGib, swapMib, extraSpecs } = JSON.parse(flavor) as ServerFlavor;
  if (viewer.minor < 47) return { id, links: viewer.bookmark("flavors", id) };
  return { original_name: name, vcpus, ram: ramMib, disk: diskGib, ephemeral: ephemeralGib, swap: swapMib, extra_specs: extraSpecs };
}

/** Tells servers of a project on one host from those on another, and nothing else. */
export function hostIdOf({ project_id, host }: Pick<Server, "project_id" | "host">): string {
  return createHash("sha224").update(project_id + host).digest("hex");
}

/** 0 while nothing is done, as long as it was never done. */
function progressOf({ progress, task_state }: Server, status: string): number {
  if (task_state !== null) return progress;
  return status === "ACTIVE" ? 100 : 0;
}

/** Users see what went wrong; what the machinery said of it is for administrators. */
function faultView(fault: string, viewer: Viewer): object {
  const { code, message, details, createdMs } = JSON.parse(fault) as ServerFault;
  return { code, message, created: timeView(createdMs), ...(viewer.isAdmin && { details }) };
}
