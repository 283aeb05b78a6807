import Type from "typebox";
import type { Server } from "#/api/server.ts";
import { requireRole } from "#/domain/caller.ts";
import { AppError } from "#/domain/errors.ts";

/** The calls and fields that Nova counts as extensions, as far as they are here, by name and alias. Clients look for the aliases. */
const EXTENSIONS = [
  ["Aggregates", "os-aggregates"],
  ["AttachInterfaces", "os-attach-interfaces"],
  ["AvailabilityZone", "os-availability-zone"],
  ["BlockDeviceMapping", "os-block-device-mapping"],
  ["BlockDeviceMappingV2Boot", "os-block-device-mapping-v2-boot"],
  ["ConfigDrive", "os-config-drive"],
  ["ConsoleOutput", "os-console-output"],
  ["DiskConfig", "OS-DCF"],
  ["ExtendedAvailabilityZone", "OS-EXT-AZ"],
  ["ExtendedServerAttributes", "OS-EXT-SRV-ATTR"],
  ["ExtendedStatus", "OS-EXT-STS"],
  ["ExtendedVolumes", "os-extended-volumes"],
  ["FlavorAccess", "os-flavor-access"],
  ["FlavorExtraData", "OS-FLV-EXT-DATA"],
  ["FlavorExtraSpecs", "os-flavor-extra-specs"],
  ["FlavorManage", "os-flavor-manage"],
  ["Hypervisors", "os-hypervisors"],
  ["InstanceActions", "os-instance-actions"],
  ["Keypairs", "os-keypairs"],
  ["LockServer", "os-lock-server"],
  ["MultipleCreate", "os-multiple-create"],
  ["PauseServer", "os-pause-server"],
  ["QuotaClasses", "os-quota-class-sets"],
  ["Quotas", "os-quota-sets"],
  ["Rescue", "os-rescue"],
  ["SchedulerHints", "os-scheduler-hints"],
  ["ServerDiagnostics", "os-server-diagnostics"],
  ["ServerExternalEvents", "os-server-external-events"],
  ["ServerGroups", "os-server-groups"],
  ["ServerUsage", "OS-SRV-USG"],
  ["Services", "os-services"],
  ["Shelve", "os-shelve"],
  ["SuspendServer", "os-suspend-server"],
  ["UserData", "os-user-data"],
  ["VolumeAttachments", "os-volume-attachments"],
] as const;

export function addExtensionRoutes(app: Server): void {
  app.get("/extensions", async ({ caller }) => {
    requireRole(caller, "reader", "see extensions");
    return { extensions: EXTENSIONS.map(extensionView) };
  });

  app.get("/extensions/:alias", { schema: { params: Type.Object({ alias: Type.String() }) } }, async ({ caller, params }) => {
    requireRole(caller, "reader", "see extensions");
    const extension = EXTENSIONS.find(([, alias]) => alias === params.alias);
    if (!extension) throw new AppError("not_found", `There is no extension ${params.alias}.`);
    return { extension: extensionView(extension) };
  });
}

/** They have been part of the API, and without versions of their own, since 2.1. */
function extensionView([name, alias]: (typeof EXTENSIONS)[number]): object {
  return { alias, name, namespace: "http://docs.openstack.org/compute/ext/fake_xml", description: "", updated: "2014-12-03T00:00:00Z", links: [] };
}
