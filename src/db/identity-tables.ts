/** Identity's tables: domains, projects, users, roles and what binds them. Flags are 0 or 1, times are milliseconds since 1970 UTC. */
export interface IdentityTables {
  domain: DomainTable;
  project: ProjectTable;
  user: UserTable;
  role: RoleTable;
  role_assignment: RoleAssignmentTable;
  application_credential: ApplicationCredentialTable;
  application_credential_role: ApplicationCredentialRoleTable;
  revocation: RevocationTable;
}

export interface DomainTable {
  id: string;
  name: string;
  description: string;
  enabled: number;
}

export interface ProjectTable {
  id: string;
  domain_id: string;
  parent_id: string | null;
  name: string;
  description: string;
  enabled: number;
}

export interface UserTable {
  id: string;
  domain_id: string;
  name: string;
  description: string | null;
  email: string | null;
  enabled: number;
  default_project_id: string | null;
  /** scrypt, with its parameters and salt; never the password. */
  password_hash: string;
  /** Tokens issued before it are no longer valid: a changed password or a disabled user ends them all. */
  tokens_valid_from: number;
}

export interface RoleTable {
  id: string;
  name: string;
  description: string | null;
}

/** A role of a user on a project, or on a domain, or (both null) on the system. */
export interface RoleAssignmentTable {
  user_id: string;
  role_id: string;
  project_id: string | null;
  domain_id: string | null;
}

export interface ApplicationCredentialTable {
  id: string;
  user_id: string;
  project_id: string;
  name: string;
  description: string;
  secret_hash: string;
  unrestricted: number;
  expires_at: number | null;
  created_at: number;
}

export interface ApplicationCredentialRoleTable {
  application_credential_id: string;
  role_id: string;
}

/** A token revoked before its end, by its audit id; kept until the token would have expired. */
export interface RevocationTable {
  audit_id: string;
  expires_at: number;
}
