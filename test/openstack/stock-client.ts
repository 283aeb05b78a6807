import { type ChildProcessByStdio, spawn } from "node:child_process";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Readable, Writable } from "node:stream";

/** The stock clients, and what each loads before its first command. */
const PRELOADED = {
  openstack: [
    "openstackclient.shell",
    "openstackclient.identity.v3.token",
    "openstackclient.image.v2.image",
    "openstackclient.volume.v2.volume",
    "openstackclient.compute.v2.server",
    "novaclient.v2.client",
    "keystoneclient.v3.client",
    "cinderclient.v3.client",
    "openstack.connection",
    "keystoneauth1.loading",
  ],
  // Not its shell: that reads the arguments while it is loaded.
  nova: ["novaclient.client", "novaclient.v2.client", "keystoneauth1.loading", "keystoneauth1.session"],
  cinder: ["cinderclient.shell", "cinderclient.v3.client"],
  glance: ["glanceclient.shell", "glanceclient.v2.client", "glanceclient.v2.shell", "glanceclient.v2.schemas"],
} as const satisfies Record<string, readonly string[]>;

export type Program = keyof typeof PRELOADED;
export const PROGRAMS = Object.keys(PRELOADED) as Program[];

/** How a command ended: its exit status (negative: the signal) and all that it wrote. */
export interface Outcome {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CommandPlace {
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
}

/** One of OpenStack's stock clients, ready to run commands: see preloaded_client.py. Debian's Python, which has the clients. */
export class StockClient implements AsyncDisposable {
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #waiting = new Map<number, PromiseWithResolvers<Outcome>>();
  readonly #ended: Promise<void>;
  #count = 0;

  constructor(program: Program) {
    const script = join(import.meta.dirname, "preloaded_client.py");
    this.#child = spawn("/usr/bin/python3", [script, program, ...PRELOADED[program]], { stdio: ["pipe", "pipe", "inherit"] });
    createInterface({ input: this.#child.stdout }).on("line", (line) => this.#settle(JSON.parse(line)));
    this.#ended = new Promise((resolve) => this.#child.once("close", () => resolve()));
    void this.#ended.then(() => this.#giveUp(new Error(`The preloaded ${program} ended`)));
  }

  /** Runs it in a process of its own; within the time limit of preloaded_client.py. */
  run(argv: readonly string[], { env, cwd }: CommandPlace): Promise<Outcome> {
    const id = this.#count++;
    const answer = Promise.withResolvers<Outcome>();
    this.#waiting.set(id, answer);
    this.#child.stdin.write(`${JSON.stringify({ id, argv, env, cwd })}\n`);
    return answer.promise;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.stdin.end();
    await this.#ended;
  }

  #settle({ id, ...outcome }: Outcome & { id: number }): void {
    this.#waiting.get(id)?.resolve(outcome);
    this.#waiting.delete(id);
  }

  #giveUp(error: Error): void {
    for (const answer of this.#waiting.values()) answer.reject(error);
  }
}
