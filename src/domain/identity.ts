import type { ProjectId, UserId } from "./ids.ts";

/** Identity's records, as the Identity API v3 knows them: https://docs.openstack.org/api-ref/identity/v3/ */
export interface Domain {
  readonly id: string;
  readonly name: string;
  readonly description: string;
  readonly enabled: boolean;
}

export interface Project {
  readonly id: ProjectId;
  readonly domainId: string;
  readonly parentId?: ProjectId | undefined;
  readonly name: string;
  readonly description: string;
  readonly enabled: boolean;
}

export interface User {
  readonly id: UserId;
  readonly domainId: string;
  readonly name: string;
  readonly description?: string | undefined;
  readonly email?: string | undefined;
  readonly enabled: boolean;
  readonly defaultProjectId?: ProjectId | undefined;
}

export interface Role {
  readonly id: string;
  readonly name: string;
  readonly description?: string | undefined;
}

/** A role of a user on a project, a domain, or the system. */
export interface RoleAssignment {
  readonly userId: UserId;
  readonly roleId: string;
  readonly target: AssignmentTarget;
}
export type AssignmentTarget =
  | { readonly kind: "project"; readonly projectId: ProjectId }
  | { readonly kind: "domain"; readonly domainId: string }
  | { readonly kind: "system" };

/** An assignment with the names of what it binds. */
export interface NamedRoleAssignment extends RoleAssignment {
  readonly user: Named & { readonly domain: Named };
  readonly role: Named;
  readonly project?: (Named & { readonly domain: Named }) | undefined;
  readonly domain?: Named | undefined;
}

/** A secret with some of its user's roles on one project, for programs. It ends with its user, project or roles. */
export interface ApplicationCredential {
  readonly id: string;
  readonly userId: UserId;
  readonly projectId: ProjectId;
  readonly name: string;
  readonly description: string;
  /** Its tokens may make and delete application credentials. */
  readonly unrestricted: boolean;
  readonly expiresAtMs?: number | undefined;
  readonly roles: readonly Role[];
}

/** What a token is good for. */
export type Scope = { readonly kind: "unscoped" } | AssignmentTarget;

/** What is written into a token, and signed. */
export interface Token {
  readonly userId: UserId;
  readonly scope: Scope;
  /** How its user proved who he is: `password`, `token`, `application_credential`. */
  readonly methods: readonly string[];
  /** Its own audit id, then the one of the token that it was made from. */
  readonly auditIds: readonly [string, ...string[]];
  readonly issuedAtMs: number;
  readonly expiresAtMs: number;
  readonly applicationCredentialId?: string | undefined;
}

/** Who a valid token speaks for, looked up anew at each request: its names, and the roles that it has now, implied ones included. */
export interface Subject {
  readonly token: Token;
  readonly user: Named & { readonly domain: Named };
  readonly scope: SubjectScope;
  readonly roles: readonly Role[];
  readonly applicationCredential?: (Named & { readonly unrestricted: boolean }) | undefined;
}
export type SubjectScope =
  | { readonly kind: "unscoped" }
  | { readonly kind: "project"; readonly project: Named & { readonly domain: Named } }
  | { readonly kind: "domain"; readonly domain: Named }
  | { readonly kind: "system" };

export interface Named {
  readonly id: string;
  readonly name: string;
}

export const hasRole = (subject: Subject, name: string): boolean => subject.roles.some((role) => role.name === name);
