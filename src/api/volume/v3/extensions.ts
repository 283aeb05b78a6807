export interface Extension {
  readonly alias: string;
  readonly name: string;
  readonly description: string;
  /** When Cinder's extension was last changed: these are part of the API since long. */
  readonly updated: string;
  readonly links: readonly never[];
}

/** The calls and fields that Cinder counts as extensions, as far as they are here. Clients look for the aliases. */
export const EXTENSIONS: readonly Extension[] = [
  extension("capabilities", "Capabilities", "Capabilities of pools", "2015-08-31"),
  extension("os-admin-actions", "AdminActions", "Reset of statuses and forced deletion", "2012-08-25"),
  extension("os-availability-zone", "AvailabilityZones", "The availability zone", "2013-06-27"),
  extension("os-extended-snapshot-attributes", "ExtendedSnapshotAttributes", "Progress and project of snapshots", "2012-06-19"),
  extension("os-image-create", "CreateVolumeExtension", "Volumes from images", "2012-08-13"),
  extension("os-quota-class-sets", "QuotaClasses", "Limits of projects without quotas of their own", "2012-03-12"),
  extension("os-quota-sets", "Quotas", "Quotas of projects", "2011-08-08"),
  extension("os-services", "Services", "The services behind the API", "2012-10-28"),
  extension("os-snapshot-actions", "SnapshotActions", "Actions on snapshots", "2013-07-16"),
  extension("os-types-extra-specs", "TypesExtraSpecs", "Extra specs of volume types", "2011-08-24"),
  extension("os-types-manage", "TypesManage", "Volume types for administrators", "2011-08-24"),
  extension("os-used-limits", "UsedLimits", "What is used of the limits", "2013-10-03"),
  extension("os-vol-host-attr", "VolumeHostAttribute", "The host of a volume", "2011-11-03"),
  extension("os-vol-image-meta", "VolumeImageMetadata", "What a volume keeps of its image", "2012-12-07"),
  extension("os-vol-mig-status-attr", "VolumeMigStatusAttribute", "The migration status of a volume", "2013-08-08"),
  extension("os-vol-tenant-attr", "VolumeTenantAttribute", "The project of a volume", "2011-11-03"),
  extension("os-volume-actions", "VolumeActions", "Actions on volumes", "2012-05-31"),
  extension("os-volume-type-access", "VolumeTypeAccess", "Projects that may use private volume types", "2014-06-26"),
  extension("scheduler-stats", "Scheduler_stats", "Pools and what they have", "2014-09-07"),
];

function extension(alias: string, name: string, description: string, day: string): Extension {
  return { alias, name, description, updated: `${day}T00:00:00+00:00`, links: [] };
}
