import { ADMIN_PASSWORD, type MicaProcess } from "./mica-process.ts";

/** Who works with a Mica of the tests, and what they log in with. */
export interface Person {
  readonly name: string;
  readonly password: string;
  readonly project: string;
}

const PASSWORD = "of a person in the tests";
const ADMIN: Person = { name: "admin", password: ADMIN_PASSWORD, project: "admin" };

/** Beside the administrator: a member and a reader of one project, and a stranger in another. */
const OTHERS = [
  { name: "member", project: "lab", role: "member" },
  { name: "reader", project: "lab", role: "reader" },
  { name: "stranger", project: "elsewhere", role: "member" },
] as const;

/** The administrator, and people that it has made. */
export class People {
  /** The ids of their records: `member_user`, `lab_project` and so on. */
  readonly ids = new Map<string, string>();
  readonly #mica: MicaProcess;
  readonly #people = new Map([["admin", ADMIN]]);
  readonly #tokens = new Map<string, string>();

  private constructor(mica: MicaProcess) {
    this.#mica = mica;
  }

  static async make(mica: MicaProcess): Promise<People> {
    const people = new People(mica);
    for (const name of new Set(OTHERS.map(({ project }) => project))) {
      const { project } = await mica.json("POST", "/identity/v3/projects", { body: { project: { name } } });
      people.ids.set(`${name}_project`, project.id);
    }
    await Promise.all(OTHERS.map((person) => people.#add(person)));
    return people;
  }

  get(name: string): Person {
    const person = this.#people.get(name);
    if (!person) throw new Error(`Nobody here is called ${name}`);
    return person;
  }

  /** A token for the person's project; the same each time. */
  async token(name: string): Promise<string> {
    const person = this.get(name);
    const token = this.#tokens.get(name) ?? (await this.#mica.login(person.name, person.password, person.project));
    this.#tokens.set(name, token);
    return token;
  }

  async #add({ name, project, role }: (typeof OTHERS)[number]): Promise<void> {
    const { user } = await this.#mica.json("POST", "/identity/v3/users", { body: { user: { name, password: PASSWORD } } });
    const { roles } = await this.#mica.json("GET", `/identity/v3/roles?name=${role}`);
    const projectId = this.ids.get(`${project}_project`);
    await this.#mica.json("PUT", `/identity/v3/projects/${projectId}/users/${user.id}/roles/${roles[0].id}`, { status: 204 });
    this.#people.set(name, { name, password: PASSWORD, project });
    this.ids.set(`${name}_user`, user.id);
  }
}
