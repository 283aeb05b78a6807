import { execFile } from "node:child_process";
import { randomFillSync } from "node:crypto";
import { mkdir, mkdtemp, open, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { MiB } from "#/lib/units.ts";
import { MicaProcess } from "../support/mica-process.ts";
import { People } from "../support/people.ts";
import { type Outcome, type Program, StockClient } from "./stock-client.ts";

const execute = promisify(execFile);

/** Variables of the environment that the clients log in with: OS_… */
export type Credentials = Readonly<Record<string, string>>;

const ENVIRONMENT = { PATH: "/usr/bin:/bin", LANG: "C.UTF-8", OS_IDENTITY_API_VERSION: "3" };

export interface RunOptions {
  /** A person's name, or what to log in with. */
  readonly as: string | Credentials;
  readonly volumeApi?: string | undefined;
  readonly computeApi?: string | undefined;
}

export interface CloudOptions {
  readonly config?: object;
  /** What its Mica finds in the environment, beside ours. */
  readonly env?: Record<string, string>;
  /** What else lies in the folder that the clients work in: text by name. */
  readonly files?: Readonly<Record<string, string>>;
}

/** Without over-subscription, so that what is larger than the machine's disk finds no room. */
const CONFIG = {
  volumeUploads: { allowCompressed: true },
  pools: [{ name: "local", path: "pools/local", overSubscriptionRatioMax: 1 }],
  // Real guests are in test/real.
  hypervisor: { driver: "memory" },
};

/** Bytes of the test disk: no whole number of GiB, so that rounding shows. */
export const DISK_BYTES = 24 * MiB;

/** A running Mica with people in it, the stock clients, and a folder with disks to work in. */
export class Cloud implements AsyncDisposable {
  readonly mica: MicaProcess;
  readonly people: People;
  readonly folder: string;
  readonly #clients = new Map<Program, StockClient>();

  private constructor(mica: MicaProcess, people: People, folder: string) {
    this.mica = mica;
    this.people = people;
    this.folder = folder;
  }

  static async open({ config = CONFIG, env = {}, files = {} }: CloudOptions = {}): Promise<Cloud> {
    const folder = await mkdtemp(join(tmpdir(), "mica-openstack-"));
    const dataDir = join(folder, "mica");
    await mkdir(dataDir);
    await writeFile(join(dataDir, "mica.json"), JSON.stringify(config));
    await makeDisks(folder);
    for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), text);
    const mica = await MicaProcess.start({ dataDir, env });
    return new Cloud(mica, await People.make(mica), folder);
  }

  /** Runs a command as one of the people. */
  async run(program: Program, argv: readonly string[], { as, volumeApi, computeApi }: RunOptions): Promise<Outcome> {
    const client = this.#clients.get(program) ?? new StockClient(program);
    this.#clients.set(program, client);
    const credentials = typeof as === "string" ? await this.#credentialsOf(as, program) : as;
    const env = { ...ENVIRONMENT, HOME: this.folder, OS_AUTH_URL: `${this.mica.url}/identity/v3`, ...credentials };
    const versions = { ...(volumeApi && { OS_VOLUME_API_VERSION: volumeApi }), ...(computeApi && { OS_COMPUTE_API_VERSION: computeApi }) };
    return client.run(argv, { env: { ...env, ...versions }, cwd: this.folder });
  }

  /** A token spares them the slow check of a password; cinder takes none. */
  async #credentialsOf(who: string, program: Program): Promise<Credentials> {
    const { name, password, project } = this.people.get(who);
    const scope = { OS_PROJECT_NAME: project, OS_PROJECT_DOMAIN_ID: "default" };
    if (program === "cinder") return { ...scope, OS_USERNAME: name, OS_USER_DOMAIN_ID: "default", OS_PASSWORD: password };
    const token = await this.people.token(who);
    if (program === "glance") return { OS_AUTH_TOKEN: token, OS_IMAGE_URL: `${this.mica.url}/image` };
    return { ...scope, OS_AUTH_TYPE: "v3token", OS_TOKEN: token };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#clients.values()].map((client) => client[Symbol.asyncDispose]()));
    await this.mica[Symbol.asyncDispose]();
    await rm(this.folder, { recursive: true, force: true });
  }
}

async function makeDisks(folder: string): Promise<void> {
  const raw = join(folder, "disk.raw");
  await using file = await open(raw, "w");
  await file.truncate(DISK_BYTES);
  for (const offset of [1, 13]) await file.write(randomFillSync(Buffer.alloc(MiB)), 0, MiB, offset * MiB);
  await execute("qemu-img", ["convert", "-f", "raw", "-O", "qcow2", raw, join(folder, "disk.qcow2")]);
}
