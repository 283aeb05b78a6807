import type { Generated } from "kysely";

/** The tables of what servers are made of and run on; the servers themselves are in `server-tables.ts`. */
export interface ComputeTables {
  flavor: FlavorTable;
  flavor_extra_spec: FlavorExtraSpecTable;
  flavor_access: FlavorAccessTable;
  keypair: KeypairTable;
  compute_service: ComputeServiceTable;
  aggregate: AggregateTable;
  aggregate_metadata: AggregateMetadataTable;
  aggregate_host: AggregateHostTable;
}

export interface FlavorTable {
  id: string;
  name: string;
  description: string | null;
  vcpus: number;
  ram_mib: number;
  disk_gib: number;
  ephemeral_gib: number;
  swap_mib: number;
  rxtx_factor: number;
  is_public: number;
  created_at: number;
  updated_at: number;
}

interface FlavorExtraSpecTable {
  flavor_id: string;
  name: string;
  value: string;
}

interface FlavorAccessTable {
  flavor_id: string;
  project_id: string;
}

/** Public keys of users. Private ones are nowhere. */
export interface KeypairTable {
  id: Generated<number>;
  user_id: string;
  name: string;
  type: "ssh" | "x509";
  fingerprint: string;
  public_key: string;
  created_at: number;
}

/** What is known of a host beside what its hypervisor says. */
export interface ComputeServiceTable {
  /** The id before microversion 2.53. */
  number: Generated<number>;
  id: string;
  host: string;
  disabled: number;
  disabled_reason: string | null;
  forced_down: number;
  updated_at: number;
}

export interface AggregateTable {
  id: Generated<number>;
  uuid: string;
  name: string;
  created_at: number;
  updated_at: number;
}

interface AggregateMetadataTable {
  aggregate_id: number;
  name: string;
  value: string;
}

interface AggregateHostTable {
  aggregate_id: number;
  host: string;
}
