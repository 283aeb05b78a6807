import type { Database } from "#/db/database.ts";
import type { ProjectTable } from "#/db/identity-tables.ts";
import type { Project } from "#/domain/identity.ts";
import { projectId, type ProjectId, type UserId } from "#/domain/ids.ts";
import { after, type Page } from "./paging.ts";

export interface ProjectFilter extends Page {
  readonly name?: string | undefined;
  readonly domainId?: string | undefined;
  readonly parentId?: string | undefined;
  readonly enabled?: boolean | undefined;
  /** Only projects on which this user has a role. */
  readonly userId?: UserId | undefined;
}

export async function findProject(db: Database, id: ProjectId): Promise<Project | undefined> {
  return projectOf(await db.selectFrom("project").selectAll().where("id", "=", id).executeTakeFirst());
}

export async function findProjectByName(db: Database, domainId: string, name: string): Promise<Project | undefined> {
  return projectOf(
    await db.selectFrom("project").selectAll().where("domain_id", "=", domainId).where("name", "=", name).executeTakeFirst(),
  );
}

export async function listProjects(db: Database, filter: ProjectFilter): Promise<Project[]> {
  const { name, domainId, parentId, enabled, userId, marker, limit } = filter;
  let query = db.selectFrom("project").selectAll().where(after("project", marker));
  if (name !== undefined) query = query.where("name", "=", name);
  if (domainId !== undefined) query = query.where("domain_id", "=", domainId);
  if (parentId !== undefined) query = query.where("parent_id", "=", parentId);
  if (enabled !== undefined) query = query.where("enabled", "=", Number(enabled));
  if (userId !== undefined) {
    query = query.where("id", "in", (eb) =>
      eb
        .selectFrom("role_assignment")
        .select("project_id")
        .where("user_id", "=", userId)
        .where("project_id", "is not", null)
        .$castTo<{ project_id: string }>(),
    );
  }
  return (await query.orderBy("name").orderBy("id").limit(limit).execute()).map((row) => projectOf(row));
}

export async function insertProject(db: Database, project: Project): Promise<void> {
  await db.insertInto("project").values(rowOf(project)).execute();
}

export async function updateProject(db: Database, project: Project): Promise<void> {
  await db.updateTable("project").set(rowOf(project)).where("id", "=", project.id).execute();
}

/** Removes the project with its role assignments and application credentials; call it in a transaction. */
export async function removeProject(db: Database, id: ProjectId): Promise<void> {
  await db.updateTable("user").set({ default_project_id: null }).where("default_project_id", "=", id).execute();
  await db.deleteFrom("project").where("id", "=", id).execute();
}

/** What the project still owns, by kind; it may not be deleted before. */
export async function countHoldings(db: Database, id: ProjectId): Promise<Record<"images" | "volumes" | "snapshots", number>> {
  const images = await db
    .selectFrom("image")
    .select(db.fn.countAll<number>().as("count"))
    .where("owner", "=", id)
    .executeTakeFirstOrThrow();
  const volumes = await db
    .selectFrom("volume")
    .select(db.fn.countAll<number>().as("count"))
    .where("project_id", "=", id)
    .executeTakeFirstOrThrow();
  const snapshots = await db
    .selectFrom("snapshot")
    .select(db.fn.countAll<number>().as("count"))
    .where("project_id", "=", id)
    .executeTakeFirstOrThrow();
  return { images: Number(images.count), volumes: Number(volumes.count), snapshots: Number(snapshots.count) };
}

function rowOf(project: Project): ProjectTable {
  return {
    id: project.id,
    domain_id: project.domainId,
    parent_id: project.parentId ?? null,
    name: project.name,
    description: project.description,
    enabled: Number(project.enabled),
  };
}

function projectOf(row: ProjectTable): Project;
function projectOf(row: ProjectTable | undefined): Project | undefined;
function projectOf(row: ProjectTable | undefined): Project | undefined {
  return (
    row && {
      id: projectId(row.id),
      domainId: row.domain_id,
      parentId: row.parent_id === null ? undefined : projectId(row.parent_id),
      name: row.name,
      description: row.description ?? "",
      enabled: row.enabled === 1,
    }
  );
}
