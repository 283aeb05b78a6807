import { type Endpoint, endpointsOf, REGION, type Service, servicesFor } from "#/domain/catalog.ts";
import type { ApplicationCredential, Domain, NamedRoleAssignment, Project, Role, Subject, User } from "#/domain/identity.ts";
import { parentOf } from "#/app/identity/projects.ts";

/** Identity's records in the shapes of its API. `baseUrl` is the public URL of the server; absent properties are left out of JSON. */

export interface RecordView {
  readonly id: string;
  readonly [name: string]: unknown;
}

/** `2026-01-31T12:00:00.000000Z`, as Keystone writes times. */
function timeOf(ms: number): string {
  return new Date(ms).toISOString().replace("Z", "000Z");
}

export function linkTo(baseUrl: string, path: string): { self: string } {
  return { self: `${baseUrl}/identity/v3/${path}` };
}

/** A list under its name, with the link to itself; `next` where there may be more. */
export function listOf<T>(name: string, records: readonly T[], links: { self: string; next: string | null }): Record<string, unknown> {
  return { [name]: records, links: { next: links.next, self: links.self, previous: null } };
}

export function domainView(domain: Domain, baseUrl: string): object {
  return { ...domain, tags: [], options: {}, links: linkTo(baseUrl, `domains/${domain.id}`) };
}

export function projectView(project: Project, baseUrl: string): object {
  return {
    id: project.id,
    name: project.name,
    domain_id: project.domainId,
    parent_id: parentOf(project),
    description: project.description,
    enabled: project.enabled,
    is_domain: false,
    tags: [],
    options: {},
    links: linkTo(baseUrl, `projects/${project.id}`),
  };
}

export function userView(user: User, baseUrl: string): object {
  return {
    id: user.id,
    name: user.name,
    domain_id: user.domainId,
    description: user.description,
    email: user.email,
    enabled: user.enabled,
    default_project_id: user.defaultProjectId,
    password_expires_at: null,
    options: {},
    links: linkTo(baseUrl, `users/${user.id}`),
  };
}

export function roleView(role: Role, baseUrl: string): object {
  return {
    id: role.id,
    name: role.name,
    domain_id: null,
    description: role.description ?? null,
    options: {},
    links: linkTo(baseUrl, `roles/${role.id}`),
  };
}

export function roleAssignmentView(assignment: NamedRoleAssignment, options: { baseUrl: string; includeNames: boolean }): object {
  const { user, role, project, domain, target } = assignment;
  const shown = <T extends { id: string }>(record: T) => (options.includeNames ? record : { id: record.id });
  const place = { project: "projects", domain: "domains", system: "system" }[target.kind];
  const at = project ?? domain;
  const path = at ? `${place}/${at.id}` : place;
  return {
    user: shown(user),
    role: shown(role),
    scope: {
      project: project && shown(project),
      domain: domain && shown(domain),
      ...(target.kind === "system" && { system: { all: true } }),
    },
    links: { assignment: linkTo(options.baseUrl, `${path}/users/${user.id}/roles/${role.id}`).self },
  };
}

/** The secret is shown in the answer to its creation only. */
export function applicationCredentialView(credential: ApplicationCredential, baseUrl: string, secret?: string): object {
  const { id, userId, name, description, projectId, roles, unrestricted, expiresAtMs } = credential;
  return {
    id,
    name,
    description,
    secret,
    project_id: projectId,
    user_id: userId,
    roles: roles.map((role) => ({ id: role.id, name: role.name, domain_id: null })),
    unrestricted,
    expires_at: expiresAtMs === undefined ? null : timeOf(expiresAtMs),
    system: null,
    links: linkTo(baseUrl, `users/${userId}/application_credentials/${id}`),
  };
}

/** The body of a token; `catalog` is left out for unscoped tokens and where the request asks for none. */
export function tokenView({ token, user, scope, roles, applicationCredential }: Subject, catalog: object[] | undefined): object {
  return {
    token: {
      methods: token.methods,
      user: { ...user, password_expires_at: null },
      audit_ids: token.auditIds,
      issued_at: timeOf(token.issuedAtMs),
      expires_at: timeOf(token.expiresAtMs),
      ...scopeView(scope),
      ...(scope.kind !== "unscoped" && { roles: roles.map(({ id, name }) => ({ id, name })), catalog }),
      ...(applicationCredential && {
        application_credential: {
          id: applicationCredential.id,
          name: applicationCredential.name,
          restricted: !applicationCredential.unrestricted,
        },
      }),
    },
  };
}

function scopeView(scope: Subject["scope"]): object {
  switch (scope.kind) {
    case "project":
      return { project: scope.project, is_domain: false };
    case "domain":
      return { domain: scope.domain };
    case "system":
      return { system: { all: true } };
    case "unscoped":
      return {};
    default:
      return scope satisfies never;
  }
}

/** The catalog as a token has it: services with their endpoints. */
export function catalogView({ scope }: Subject, baseUrl: string): object[] {
  const projectId = scope.kind === "project" ? scope.project.id : undefined;
  return servicesFor(projectId).map((service) => ({
    id: service.type,
    type: service.type,
    name: service.name,
    endpoints: endpointsOf(service, baseUrl, projectId).map(({ id, interface: name, url }) => ({
      id,
      interface: name,
      region: REGION,
      region_id: REGION,
      url,
    })),
  }));
}

export function serviceView(service: Service, baseUrl: string): RecordView {
  const { type, name, description } = service;
  return { id: type, type, name, description, enabled: true, links: linkTo(baseUrl, `services/${type}`) };
}

export function endpointView(endpoint: Endpoint, baseUrl: string): RecordView {
  const { id, service, url } = endpoint;
  return {
    id,
    interface: endpoint.interface,
    region: REGION,
    region_id: REGION,
    service_id: service.type,
    url,
    enabled: true,
    links: linkTo(baseUrl, `endpoints/${id}`),
  };
}

export function regionView(baseUrl: string): RecordView {
  return { id: REGION, description: "", parent_region_id: null, links: linkTo(baseUrl, `regions/${REGION}`) };
}
