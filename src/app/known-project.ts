import type { Database } from "#/db/database.ts";
import { findProject } from "#/db/identity/projects.ts";
import { AppError } from "#/domain/errors.ts";
import { projectId } from "#/domain/ids.ts";

/** Throws 400 in Nova's words (nova/api/openstack/identity.py) where no project has the id. */
export async function refuseUnknownProject(db: Database, id: string): Promise<void> {
  if (!(await findProject(db, projectId(id)))) throw new AppError("bad_request", `Project ID ${id} is not a valid project.`);
}
