/**
 * The tables, as TypeScript sees them. Flags are 0 or 1, times are milliseconds since 1970 UTC, sizes are bytes, JSON is text.
 * Identity's tables are in `identity-tables.ts`, those of servers in `server-tables.ts`, and what servers are made of and run on in `compute-tables.ts`.
 */
import type { DiskFormat, DiskState, HolderKind } from "#/domain/disk.ts";
import type { ComputeTables } from "./compute-tables.ts";
import type { IdentityTables } from "./identity-tables.ts";
import type { ServerTables } from "./server-tables.ts";

export interface Tables extends IdentityTables, ServerTables, ComputeTables {
  setting: SettingTable;
  disk: DiskTable;
  pool: PoolTable;
  pool_usage: PoolUsageTable;
  cache_entry: CacheEntryTable;
  image: ImageTable;
  image_volume: ImageVolumeTable;
  image_property: ImagePropertyTable;
  image_tag: ImageTagTable;
  image_member: ImageMemberTable;
  volume: VolumeTable;
  volume_metadata: VolumeKeyValueTable;
  volume_image_metadata: VolumeKeyValueTable;
  snapshot: SnapshotTable;
  snapshot_metadata: SnapshotKeyValueTable;
  volume_type: VolumeTypeTable;
  volume_type_extra_spec: VolumeTypeExtraSpecTable;
  volume_type_access: VolumeTypeAccessTable;
  quota: QuotaTable;
  quota_usage: QuotaUsageTable;
  message: MessageTable;
  operation: OperationTable;
  journal: JournalTable;
}

/** Facts of the installation that are made once: the token signing key, ids of the first project. */
interface SettingTable {
  name: string;
  value: string;
}

export interface DiskTable {
  id: string;
  pool: string;
  format: DiskFormat;
  /** The format of the disk in a compressed stream, else null. */
  packed: DiskFormat | null;
  virtual_size_bytes: number;
  parent_id: string | null;
  /** URL of registered bytes; null: they lie in the pool under the id. */
  location: string | null;
  holder_kind: HolderKind;
  holder_id: string;
  state: DiskState;
  /** Space promised to the operation that fills it; 0 once it is ready. */
  reserved_bytes: number;
  created_at: number;
}

/** What is known of a pool beside the configuration: only pools of which there is something to know have a row. */
export interface PoolTable {
  name: string;
  /** JSON as in the configuration, of a pool that was added while Mica ran; null for those of the configuration. */
  config: string | null;
  drained: number;
  /** JSON: the space that its disks share, as it was last measured. */
  space: string | null;
  created_at: number;
}

/** Sums over `disk`, kept in the same transactions, so that no request adds up all disks. The audit compares them. */
interface PoolUsageTable {
  pool: string;
  provisioned_bytes: number;
  reserved_bytes: number;
}

export interface CacheEntryTable {
  image_id: string;
  pool: string;
  disk_id: string;
  /** `filling`: the operation `filled_by` makes it, others wait. */
  state: "filling" | "ready";
  filled_by: string;
  size_bytes: number;
  hits: number;
  created_at: number;
  last_used_at: number;
}

export interface ImageTable {
  id: string;
  name: string | null;
  owner: string | null;
  status: string;
  visibility: string;
  disk_format: string | null;
  container_format: string | null;
  size_bytes: number | null;
  virtual_size_bytes: number | null;
  min_disk_gib: number;
  min_ram_mib: number;
  protected: number;
  hidden: number;
  checksum_md5: string | null;
  hash_algorithm: string | null;
  hash_value: string | null;
  /** The disk that holds its bytes; null while there are none. */
  disk_id: string | null;
  created_at: number;
  updated_at: number;
}

/** An image whose disk stays in a pool of volumes counts as a volume of a project: Cinder's image-volume. */
export interface ImageVolumeTable {
  image_id: string;
  project_id: string;
  user_id: string;
  volume_type_id: string;
  size_bytes: number;
}

interface ImagePropertyTable {
  image_id: string;
  name: string;
  value: string;
}

interface ImageTagTable {
  image_id: string;
  tag: string;
}

export interface ImageMemberTable {
  image_id: string;
  member_id: string;
  status: "pending" | "accepted" | "rejected";
  created_at: number;
  updated_at: number;
}

export interface VolumeTable {
  id: string;
  project_id: string;
  user_id: string;
  name: string | null;
  description: string | null;
  status: string;
  /** The status to go back to when an upload or extend ends; null outside of one. */
  previous_status: string | null;
  size_bytes: number;
  availability_zone: string;
  volume_type_id: string;
  bootable: number;
  readonly: number;
  multiattach: number;
  attach_status: string;
  migration_status: string | null;
  snapshot_id: string | null;
  source_volume_id: string | null;
  /** The image that it was made from. */
  image_id: string | null;
  pool: string;
  disk_id: string | null;
  created_at: number;
  updated_at: number;
}

export interface VolumeKeyValueTable {
  volume_id: string;
  name: string;
  value: string;
}

export interface SnapshotTable {
  id: string;
  volume_id: string;
  project_id: string;
  user_id: string;
  name: string | null;
  description: string | null;
  status: string;
  size_bytes: number;
  disk_id: string | null;
  /** The image of a server that stands for it, and takes it along. */
  image_id: string | null;
  created_at: number;
  updated_at: number;
}

export interface SnapshotKeyValueTable {
  snapshot_id: string;
  name: string;
  value: string;
}

export interface VolumeTypeTable {
  id: string;
  name: string;
  description: string | null;
  is_public: number;
  created_at: number;
  updated_at: number;
}

interface VolumeTypeExtraSpecTable {
  volume_type_id: string;
  name: string;
  value: string;
}

interface VolumeTypeAccessTable {
  volume_type_id: string;
  project_id: string;
}

/** A limit that differs from the default; −1 is unlimited. */
interface QuotaTable {
  project_id: string;
  resource: string;
  limit_count: number;
}

/** What a project uses, kept in the transactions that change it. The audit compares it with the sum. */
interface QuotaUsageTable {
  project_id: string;
  resource: string;
  used: number;
}

/** What went wrong with a volume or snapshot, in words for its user (Block Storage API 3.3). */
export interface MessageTable {
  id: string;
  project_id: string;
  request_id: string;
  resource_type: string;
  resource_id: string;
  event_id: string;
  detail_id: string;
  action_id: string;
  user_message: string;
  message_level: string;
  created_at: number;
  expires_at: number;
}

/** A saga, as its journal and its user see it. */
export interface OperationTable {
  id: string;
  saga: string;
  params: string;
  project_id: string | null;
  user_id: string | null;
  request_id: string | null;
  subject_kind: string;
  subject_id: string;
  plan: string | null;
  /** What really happened, in the terms of the plan. */
  actual: string | null;
  state: "running" | "undoing" | "done" | "undone" | "stuck";
  step: string | null;
  progress: number;
  error_code: string | null;
  error_message: string | null;
  cancel_requested: number;
  lease_owner: string | null;
  lease_until: number;
  created_at: number;
  updated_at: number;
  ended_at: number | null;
}

interface JournalTable {
  operation_id: string;
  sequence: number;
  step: string;
  event: "started" | "done" | "failed" | "undone";
  because: string | null;
  at: number;
}
