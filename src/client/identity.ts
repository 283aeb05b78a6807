import { find } from "./records.ts";
import type { Session } from "./session.ts";

/** The three records of Identity v3 that the commands manage; each lives under the path of its plural. */
export type IdentityNoun = "project" | "user" | "role";

export interface IdentityRecord {
  readonly id: string;
  readonly name: string;
  readonly enabled?: boolean;
}

export interface RoleAssignment {
  readonly role: { readonly name?: string; readonly id: string };
  readonly user?: { readonly name?: string; readonly id: string };
  readonly scope: { readonly project?: { readonly name?: string; readonly id: string } };
}

export class Identity {
  readonly #session: Session;

  constructor(session: Session) {
    this.#session = session;
  }

  async list(noun: IdentityNoun): Promise<readonly IdentityRecord[]> {
    return (
      (await this.#session.json<Record<string, IdentityRecord[]>>("identity", "GET", `/${noun}s`, { what: `list the ${noun}s` }))[
        `${noun}s`
      ] ?? []
    );
  }

  async find(noun: IdentityNoun, idOrName: string): Promise<IdentityRecord> {
    return find(noun, idOrName, async () => {
      const all = await this.list(noun);
      const byId = all.filter(({ id }) => id === idOrName);
      return byId.length > 0 ? byId : all.filter(({ name }) => name === idOrName);
    });
  }

  async create(noun: IdentityNoun, fields: { name: string; password?: string; default_project_id?: string }): Promise<IdentityRecord> {
    const json = { [noun]: fields };
    const answer = await this.#session.json<Record<string, IdentityRecord>>("identity", "POST", `/${noun}s`, {
      what: `create the ${noun} "${fields.name}"`,
      json,
    });
    return answer[noun] as IdentityRecord;
  }

  async delete(noun: IdentityNoun, id: string): Promise<void> {
    await this.#session.json("identity", "DELETE", `/${noun}s/${id}`, { what: `delete the ${noun} ${id}` });
  }

  /** Gives or takes a role of a user on a project. */
  async setRole(method: "PUT" | "DELETE", roleId: string, userId: string, projectId: string): Promise<void> {
    const path = `/projects/${projectId}/users/${userId}/roles/${roleId}`;
    await this.#session.json("identity", method, path, { what: `${method === "PUT" ? "grant" : "revoke"} the role` });
  }

  /** Who has which role where. */
  async roleAssignments(): Promise<readonly RoleAssignment[]> {
    const what = "list the role assignments";
    return (
      await this.#session.json<{ role_assignments: RoleAssignment[] }>("identity", "GET", "/role_assignments?include_names=true", { what })
    ).role_assignments;
  }
}
