/** What a guest is told of itself: the files of a config drive, as cloud-init's ConfigDrive source reads them (nova/api/metadata/base.py). */
export interface ServerFacts {
  readonly id: string;
  readonly name: string;
  readonly hostname: string;
  readonly projectId: string;
  readonly availabilityZone: string;
  readonly launchIndex: number;
  readonly metadata: Readonly<Record<string, string>>;
  readonly key?: { readonly name: string; readonly data: string } | undefined;
  /** As its user gave it, decoded. */
  readonly userData?: Uint8Array | undefined;
  /** Disks with tags, for the guest to find them by (Compute API 2.32). */
  readonly devices: readonly TaggedDevice[];
  /** Of the guest's administrator: cloudbase-init sets it, and whoever reads `admin_pass`. Empty is none. */
  readonly adminPassword?: string | undefined;
  /** Files to be put into the guest (up to Compute API 2.56), by their paths. */
  readonly personality: readonly { readonly path: string; readonly contents: Uint8Array }[];
}

export interface TaggedDevice {
  readonly tag: string;
  readonly serial: string;
  readonly path: string;
  readonly bus: string;
}

/** The label that cloud-init looks for. */
export const CONFIG_DRIVE_LABEL = "config-2";

/** Each file by its path in the drive. */
export function configDriveFiles(server: ServerFacts): Map<string, Uint8Array> {
  const files = new Map<string, Uint8Array>([
    ["openstack/latest/meta_data.json", json(metaData(server))],
    ["openstack/latest/network_data.json", json({ links: [], networks: [], services: [] })],
    ["openstack/latest/vendor_data.json", json({})],
    ["ec2/latest/meta-data.json", json(ec2MetaData(server))],
  ]);
  if (server.userData) {
    files.set("openstack/latest/user_data", server.userData);
    files.set("ec2/latest/user-data", server.userData);
  }
  for (const [index, { contents }] of server.personality.entries()) files.set(contentPath(index), contents);
  return files;
}

function metaData({ id, name, hostname, projectId, availabilityZone, launchIndex, metadata, key, devices, personality, adminPassword }: ServerFacts): object {
  return {
    uuid: id,
    name,
    hostname,
    project_id: projectId,
    availability_zone: availabilityZone,
    launch_index: launchIndex,
    meta: metadata,
    ...(adminPassword && { admin_pass: adminPassword }),
    ...(key && { public_keys: { [key.name]: key.data }, keys: [{ name: key.name, type: key.data.startsWith("-----BEGIN CERTIFICATE") ? "x509" : "ssh", data: key.data }] }),
    devices: devices.map(({ tag, serial, path, bus }) => ({ type: "disk", bus, serial, path, tags: [tag] })),
    ...(personality.length > 0 && { files: personality.map(({ path }, index) => ({ path, content_path: `/content/${contentName(index)}` })) }),
  };
}

function ec2MetaData({ id, hostname, launchIndex, availabilityZone, key }: ServerFacts): object {
  return {
    "instance-id": id,
    hostname,
    "local-hostname": hostname,
    "ami-launch-index": launchIndex,
    placement: { "availability-zone": availabilityZone },
    ...(key && { "public-keys": { "0": { "openssh-key": key.data } } }),
  };
}

const contentName = (index: number): string => String(index).padStart(4, "0");
const contentPath = (index: number): string => `openstack/content/${contentName(index)}`;
const json = (value: object): Uint8Array => Buffer.from(JSON.stringify(value));
