import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { makeCertificates } from "#/tools/test-certificates.ts";

const MICA = join(import.meta.dirname, "../../bin/mica");
const START_LIMIT_MS = 60_000;

export interface WorkerProcessOptions {
  /** Its pools, as in the configuration; a `path` is made absolute. */
  readonly pools: readonly object[];
  /** Where it listens; 127.0.0.1 where nothing is said. */
  readonly host?: string;
  /** The command that it runs in: `["ip", "netns", "exec", NAME]`. */
  readonly within?: readonly string[];
  readonly env?: Record<string, string>;
}

/** A real `mica worker`, with certificates of an authority of its own, to be stopped, killed and started again at the same addresses. */
export class WorkerProcess implements AsyncDisposable {
  readonly dataDir: string;
  readonly host: string;
  readonly #options: WorkerProcessOptions;
  readonly #ports: { readonly https: number; readonly nbd: number };
  #child: ChildProcess | undefined;
  #output = "";

  private constructor(dataDir: string, options: WorkerProcessOptions, ports: { https: number; nbd: number }) {
    this.dataDir = dataDir;
    this.host = options.host ?? "127.0.0.1";
    this.#options = options;
    this.#ports = ports;
  }

  static async start(options: WorkerProcessOptions): Promise<WorkerProcess> {
    const dataDir = await mkdtemp(join(tmpdir(), "mica-worker-"));
    const worker = new WorkerProcess(dataDir, options, { https: await freePort(), nbd: await freePort() });
    try {
      await mkdir(worker.tlsDir);
      await makeCertificates(worker.tlsDir, { serverNames: `IP:${worker.host}` });
      await writeFile(join(dataDir, "mica.json"), JSON.stringify({ pools: options.pools }));
      await worker.start();
      return worker;
    } catch (error) {
      await rm(dataDir, { recursive: true, force: true });
      throw error;
    }
  }

  /** With the certificates of both sides. */
  get tlsDir(): string {
    return join(this.dataDir, "tls");
  }

  get url(): string {
    return `https://${this.host}:${this.#ports.https}`;
  }

  get nbdPort(): number {
    return this.#ports.nbd;
  }

  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  /** What it has printed and logged since its last start. */
  get output(): string {
    return this.#output;
  }

  /** Starts it (again); resolves when it answers. */
  async start(): Promise<void> {
    const { https, nbd } = this.#ports;
    const args = ["worker", "--data-dir", this.dataDir, "--listen", `${this.host}:${https}`, "--listen-nbd", `${this.host}:${nbd}`];
    const [program = MICA, ...rest] = [...(this.#options.within ?? []), MICA, ...args];
    const child = spawn(program, rest, { env: { ...process.env, ...this.#options.env }, stdio: ["ignore", "pipe", "pipe"] });
    this.#child = child;
    this.#output = "";
    const ready = Promise.withResolvers<void>();
    const listen = (chunk: Buffer) => {
      this.#output = (this.#output + chunk).slice(-200_000);
      if (this.#output.includes("listens on https://")) ready.resolve();
    };
    child.stdout?.on("data", listen);
    child.stderr?.on("data", listen);
    child.once("exit", (code) => ready.reject(new Error(`mica worker ended with ${code}:\n${this.#output}`)));
    const timer = setTimeout(() => ready.reject(new Error(`mica worker is not ready:\n${this.#output}`)), START_LIMIT_MS);
    await ready.promise.catch((error: unknown) => this.#end("SIGKILL").then(() => Promise.reject(error))).finally(() => clearTimeout(timer));
  }

  /** SIGKILL: no goodbye. */
  async kill(): Promise<void> {
    await this.#end("SIGKILL");
  }

  /** SIGTERM; the exit code. */
  async stop(): Promise<number | null> {
    return this.#end("SIGTERM");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#end("SIGTERM");
    await rm(this.dataDir, { recursive: true, force: true });
  }

  async #end(signal: "SIGTERM" | "SIGKILL"): Promise<number | null> {
    const child = this.#child;
    if (!child) return null;
    if (child.exitCode === null && child.signalCode === null) {
      const ended = once(child, "exit");
      child.kill(signal);
      await ended;
    }
    return child.exitCode;
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}
