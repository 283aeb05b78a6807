/** The tables of servers, as TypeScript sees them; units as in `tables.ts`. */
import type { BlockDeviceRequest, DeviceKind, DiskBus } from "#/domain/block-device.ts";
import type { PowerState, TaskState, VmState } from "#/domain/server.ts";
import type { ServerGroupPolicy } from "#/domain/server-group.ts";

export interface ServerTables {
  server: ServerTable;
  server_metadata: { server_id: string; name: string; value: string };
  server_tag: { server_id: string; tag: string };
  block_device: BlockDeviceTable;
  server_action: ServerActionTable;
  server_group: ServerGroupTable;
  server_placement: ServerPlacementTable;
  capture_base: CaptureBaseTable;
}

export interface ServerTable {
  id: string;
  project_id: string;
  user_id: string;
  name: string;
  description: string | null;
  /** What the guest calls itself. */
  hostname: string;
  vm_state: VmState;
  task_state: TaskState | null;
  power_state: PowerState;
  /** The state to go back to, of a server that is rescued, resized or shelved. */
  previous_vm_state: VmState | null;
  /** Of what is being done to its disks, in percent. */
  progress: number;
  /** Null where it was booted from a volume. */
  image_id: string | null;
  /** JSON: the properties of the image that it boots from, or of its boot volume's. */
  image_properties: string;
  /** JSON: of the image that it was made of, what its own images take over (`ImageForm`). Null where it was booted from a volume. */
  image_form: string | null;
  /** JSON: the flavor as it was when the server got it. */
  flavor: string;
  /** Of a resized server that is not confirmed yet. */
  previous_flavor: string | null;
  key_name: string | null;
  key_data: string | null;
  /** In base64. */
  user_data: string | null;
  /** JSON: files that its user put into it, up to microversion 2.56. */
  personality: string | null;
  config_drive: number;
  availability_zone: string;
  host: string;
  reservation_id: string;
  launch_index: number;
  disk_config: "AUTO" | "MANUAL";
  access_ip_v4: string | null;
  access_ip_v6: string | null;
  /** `user`, or `none`. */
  network: "auto" | "none";
  locked_by: "owner" | "admin" | null;
  locked_reason: string | null;
  /** JSON: what went wrong last. */
  fault: string | null;
  rescue_image_id: string | null;
  shelved_image_id: string | null;
  launched_at: number | null;
  created_at: number;
  updated_at: number;
}

/** A disk of a server: a local one (`disk_id`) or a volume (`volume_id`). It is the volume's attachment, too. */
export interface BlockDeviceTable {
  id: string;
  server_id: string;
  source: BlockDeviceRequest["source"];
  destination: BlockDeviceRequest["destination"];
  /** Of the image, snapshot or volume that it was made from. */
  source_id: string | null;
  volume_id: string | null;
  disk_id: string | null;
  size_bytes: number;
  /** `vda`. */
  target: string;
  bus: DiskBus;
  kind: DeviceKind;
  boot_index: number | null;
  guest_format: string | null;
  tag: string | null;
  delete_on_termination: number;
  /** The volume was made with the server. */
  made_volume: number;
  state: "attaching" | "attached" | "detaching";
  created_at: number;
}

/** What was asked for of a server, and what became of it. */
export interface ServerActionTable {
  request_id: string;
  server_id: string;
  project_id: string;
  user_id: string;
  action: string;
  message: string | null;
  result: "Success" | "Error" | null;
  started_at: number;
  finished_at: number | null;
}

export interface ServerGroupTable {
  id: string;
  project_id: string;
  user_id: string;
  name: string;
  policy: ServerGroupPolicy;
  servers_per_host_max: number | null;
  created_at: number;
}

/** Only of servers whose request said something of their place. */
export interface ServerPlacementTable {
  server_id: string;
  group_id: string | null;
  /** JSON: all that it said. */
  hints: string;
}

/** An image of a server's disk, and how it is known what has changed on the disk since that very instant: the guest has a checkpoint, or the pool has kept the disk of then. */
export interface CaptureBaseTable {
  device_id: string;
  /** The disk that the device was then, and what it read through: another one remembers nothing. */
  live_disk_id: string;
  live_parent_id: string | null;
  image_id: string;
  /** Its name in the guest's disk. */
  checkpoint: string | null;
  frozen_disk_id: string | null;
}
