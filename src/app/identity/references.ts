import type { Database } from "#/db/database.ts";
import { findDomain, findDomainByName } from "#/db/identity/domains.ts";
import { findProject, findProjectByName } from "#/db/identity/projects.ts";
import type { Domain, Project } from "#/domain/identity.ts";
import type { ProjectId } from "#/domain/ids.ts";

/** How requests for tokens speak of domains and projects: by id, or by name, which is unique within a domain. */
export type DomainReference = { readonly id: string } | { readonly name: string };
export type ProjectReference = { readonly id: ProjectId } | { readonly name: string; readonly domain: DomainReference };

export async function resolveDomain(db: Database, reference: DomainReference): Promise<Domain | undefined> {
  return "id" in reference ? findDomain(db, reference.id) : findDomainByName(db, reference.name);
}

export async function resolveProject(db: Database, reference: ProjectReference): Promise<Project | undefined> {
  if ("id" in reference) return findProject(db, reference.id);
  const domain = await resolveDomain(db, reference.domain);
  return domain && findProjectByName(db, domain.id, reference.name);
}
