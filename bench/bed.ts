import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ADMIN_PASSWORD, MicaProcess, type MicaProcessOptions } from "../test/support/mica-process.ts";
import type { Figure } from "./figure.ts";

/** One of the numbers: what it needs of the machine, and the figures that come of it. */
export interface Measurement {
  readonly about: string;
  measure(bed: Bed): Promise<readonly Figure[]>;
}

/** Many and large disks: what is measured is not the quota. */
const UNLIMITED = { MICA_QUOTAS_VOLUMES: "-1", MICA_QUOTAS_GIGABYTES: "-1" };

/**
 * Where one measurement is made: a folder, and the processes that it started. All of it is gone at the end, also when
 * that comes early because the time is up.
 */
export class Bed implements AsyncDisposable {
  readonly folder: string;
  readonly isSmall: boolean;
  readonly #stack: AsyncDisposableStack;

  private constructor(folder: string, isSmall: boolean, stack: AsyncDisposableStack) {
    this.folder = folder;
    this.isSmall = isSmall;
    this.#stack = stack;
  }

  static async make({ isSmall }: { readonly isSmall: boolean }): Promise<Bed> {
    const folder = await mkdtemp(join(tmpdir(), "mica-bench-"));
    const stack = new AsyncDisposableStack();
    stack.defer(() => rm(folder, { recursive: true, force: true }));
    return new Bed(folder, isSmall, stack);
  }

  /** `full`, or in a trial run an eighth of it. */
  sized(full: number): number {
    return this.isSmall ? Math.ceil(full / 8) : full;
  }

  /** A fresh server in the folder `name`, or again on what is there. */
  async mica(name: string, { env, ...options }: MicaProcessOptions = {}): Promise<MicaProcess> {
    const all = { ...UNLIMITED, MICA_LOG_LEVEL: "warn", ...env };
    return this.use(await MicaProcess.start({ ...options, dataDir: join(this.folder, name), env: all }));
  }

  /** Ends with the bed. */
  use<Part extends AsyncDisposable>(part: Part): Part {
    return this.#stack.use(part);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}

/** A user of a new project with the role member, and a token of that. */
export async function addMember(mica: MicaProcess, name: string): Promise<{ readonly projectId: string; login(): Promise<string> }> {
  const { project } = await mica.json("POST", "/identity/v3/projects", { body: { project: { name } } });
  const { user } = await mica.json("POST", "/identity/v3/users", { body: { user: { name, password: ADMIN_PASSWORD } } });
  const { roles } = await mica.json("GET", "/identity/v3/roles?name=member");
  await mica.json("PUT", `/identity/v3/projects/${project.id}/users/${user.id}/roles/${roles[0].id}`, { status: 204 });
  return { projectId: project.id, login: () => mica.login(name, ADMIN_PASSWORD, name) };
}
