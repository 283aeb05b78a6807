import { execFile } from "node:child_process";
import { randomFillSync } from "node:crypto";
import { mkdir, mkdtemp, open, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { MiB } from "#/lib/units.ts";
import { ADMIN_PASSWORD, MicaProcess } from "../support/mica-process.ts";
import { type Outcome, PROGRAMS, type Program, StockClient } from "./stock-client.ts";

const execute = promisify(execFile);

/** Who works with the cloud: what they log in with. */
export interface Person {
  readonly name: string;
  readonly password: string;
  readonly project: string;
}

/** Variables of the environment that the clients log in with: OS_… */
export type Credentials = Readonly<Record<string, string>>;

const ADMIN: Person = { name: "admin", password: ADMIN_PASSWORD, project: "admin" };
const PASSWORD = "of a person in the tests";

/** Beside the administrator: a member and a reader of one project, and a stranger in another. */
const PEOPLE = [
  { name: "member", project: "lab", role: "member" },
  { name: "reader", project: "lab", role: "reader" },
  { name: "stranger", project: "elsewhere", role: "member" },
] as const;

const ENVIRONMENT = { PATH: "/usr/bin:/bin", LANG: "C.UTF-8", OS_IDENTITY_API_VERSION: "3" };

export interface RunOptions {
  /** A person's name, or what to log in with. */
  readonly as: string | Credentials;
  readonly volumeApi?: string | undefined;
}

/** Without over-subscription, so that what is larger than the machine's disk finds no room. */
const CONFIG = { pools: [{ name: "local", path: "pools/local", overSubscriptionRatioMax: 1 }] };

/** Bytes of the test disk: no whole number of GiB, so that rounding shows. */
export const DISK_BYTES = 24 * MiB;

/** A running Mica with people in it, the stock clients, and a folder with disks to work in. */
export class Cloud implements AsyncDisposable {
  readonly mica: MicaProcess;
  readonly folder: string;
  /** For the commands: what is known of this cloud before the first of them. */
  readonly variables = new Map<string, string>();
  readonly #clients = new Map<Program, StockClient>();
  readonly #people = new Map<string, Person>([["admin", ADMIN]]);
  readonly #tokens = new Map<string, string>();

  private constructor(mica: MicaProcess, folder: string) {
    this.mica = mica;
    this.folder = folder;
  }

  static async open(): Promise<Cloud> {
    const folder = await mkdtemp(join(tmpdir(), "mica-openstack-"));
    const dataDir = join(folder, "mica");
    await mkdir(dataDir);
    await writeFile(join(dataDir, "mica.json"), JSON.stringify(CONFIG));
    const cloud = new Cloud(await MicaProcess.start({ dataDir }), folder);
    await Promise.all([cloud.#makeDisks(), cloud.#makePeople()]);
    return cloud;
  }

  /** Runs a command as one of the people. */
  async run(program: Program, argv: readonly string[], { as, volumeApi }: RunOptions): Promise<Outcome> {
    const client = this.#clients.get(program) ?? new StockClient(program);
    this.#clients.set(program, client);
    const credentials = typeof as === "string" ? await this.#credentialsOf(as, program) : as;
    const env = { ...ENVIRONMENT, HOME: this.folder, OS_AUTH_URL: `${this.mica.url}/identity/v3`, ...credentials };
    return client.run(argv, { env: volumeApi ? { ...env, OS_VOLUME_API_VERSION: volumeApi } : env, cwd: this.folder });
  }

  /** openstack takes a token, which spares it the slow check of a password; the others want the password. */
  async #credentialsOf(who: string, program: Program): Promise<Credentials> {
    const person = this.#people.get(who);
    if (!person) throw new Error(`Nobody here is called ${who}`);
    const { name, password, project } = person;
    const scope = { OS_PROJECT_NAME: project, OS_PROJECT_DOMAIN_ID: "default" };
    if (program !== "openstack") return { ...scope, OS_USERNAME: name, OS_USER_DOMAIN_ID: "default", OS_PASSWORD: password };
    const token = this.#tokens.get(who) ?? (await this.mica.login(name, password, project));
    this.#tokens.set(who, token);
    return { ...scope, OS_AUTH_TYPE: "v3token", OS_TOKEN: token };
  }

  async #makeDisks(): Promise<void> {
    const raw = join(this.folder, "disk.raw");
    await using file = await open(raw, "w");
    await file.truncate(DISK_BYTES);
    await file.write(randomFillSync(Buffer.alloc(MiB)), 0, MiB, MiB);
    await file.write(randomFillSync(Buffer.alloc(MiB)), 0, MiB, 13 * MiB);
    await execute("qemu-img", ["convert", "-f", "raw", "-O", "qcow2", raw, join(this.folder, "disk.qcow2")]);
  }

  async #makePeople(): Promise<void> {
    const projects = new Map<string, string>();
    for (const name of new Set(PEOPLE.map(({ project }) => project))) {
      const { project } = await this.mica.json("POST", "/identity/v3/projects", { body: { project: { name } } });
      projects.set(name, project.id);
      this.variables.set(`${name}_project`, project.id);
    }
    await Promise.all(PEOPLE.map((person) => this.#makePerson(person, projects.get(person.project) ?? "")));
  }

  async #makePerson({ name, project, role }: (typeof PEOPLE)[number], projectId: string): Promise<void> {
    const { user } = await this.mica.json("POST", "/identity/v3/users", { body: { user: { name, password: PASSWORD } } });
    const { roles } = await this.mica.json("GET", `/identity/v3/roles?name=${role}`);
    await this.mica.json("PUT", `/identity/v3/projects/${projectId}/users/${user.id}/roles/${roles[0].id}`, { status: 204 });
    this.#people.set(name, { name, password: PASSWORD, project });
    this.variables.set(`${name}_user`, user.id);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#clients.values()].map((client) => client[Symbol.asyncDispose]()));
    await this.mica[Symbol.asyncDispose]();
    await rm(this.folder, { recursive: true, force: true });
  }
}
