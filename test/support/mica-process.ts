import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

const MICA = join(import.meta.dirname, "../../bin/mica");
export const ADMIN_PASSWORD = "secret of the tests";
const START_LIMIT_MS = 60_000;

export interface MicaProcessOptions {
  readonly dataDir?: string;
  readonly env?: Record<string, string>;
  readonly flags?: readonly string[];
  readonly startLimitMs?: number;
}

/** A real `mica serve` on loopback, in a process of its own, to be asked over HTTP, stopped and killed. */
export class MicaProcess implements AsyncDisposable {
  readonly dataDir: string;
  readonly #options: MicaProcessOptions;
  #child: ChildProcess | undefined;
  #ended: Promise<number | null> = Promise.resolve(0);
  #output = "";
  #token: string | undefined;
  url = "";

  private constructor(dataDir: string, options: MicaProcessOptions) {
    this.dataDir = dataDir;
    this.#options = options;
  }

  static async start(options: MicaProcessOptions = {}): Promise<MicaProcess> {
    const mica = new MicaProcess(options.dataDir ?? (await mkdtemp(join(tmpdir(), "mica-test-"))), options);
    await mica.start();
    return mica;
  }

  /** Starts it (again) on its data folder; resolves when it answers. `changes` of the environment hold for this run. */
  async start(changes: Record<string, string> = {}): Promise<void> {
    const env = { ...process.env, MICA_ADMIN_PASSWORD: ADMIN_PASSWORD, MICA_LOG_LEVEL: "info", ...this.#options.env, ...changes };
    const args = ["serve", "--data-dir", this.dataDir, "--listen", "127.0.0.1:0", ...(this.#options.flags ?? [])];
    const child = spawn(MICA, args, { env, stdio: ["ignore", "pipe", "pipe"] });
    this.#child = child;
    this.#output = "";
    const ready = Promise.withResolvers<string>();
    const listen = (chunk: Buffer) => {
      this.#output = (this.#output + chunk).slice(-200_000);
      const url = /listens on (http:\/\/\S+)/.exec(this.#output)?.[1];
      if (url) ready.resolve(url);
    };
    child.stdout?.on("data", listen);
    child.stderr?.on("data", listen);
    this.#ended = new Promise((resolve) => child.once("exit", (code) => resolve(code)));
    void this.#ended.then((code) => ready.reject(new Error(`mica serve ended with ${code}:\n${this.#output}`)));
    const timer = setTimeout(() => ready.reject(new Error(`mica serve is not ready:\n${this.#output}`)), this.#options.startLimitMs ?? START_LIMIT_MS);
    try {
      this.url = await ready.promise;
    } catch (error) {
      child.kill("SIGKILL"); // Nobody else would end it.
      throw error;
    } finally {
      clearTimeout(timer);
    }
    this.#token = undefined;
  }

  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  /** What it has printed and logged since its last start. */
  get output(): string {
    return this.#output;
  }

  /** SIGKILL: no goodbye. */
  async kill(): Promise<void> {
    this.#child?.kill("SIGKILL");
    await this.#ended;
  }

  /** SIGTERM; the exit code. */
  async stop(): Promise<number | null> {
    this.#child?.kill("SIGTERM");
    return this.#ended;
  }

  /** A token of the administrator for the project `admin`. */
  async token(): Promise<string> {
    this.#token ??= await this.login("admin", ADMIN_PASSWORD, "admin");
    return this.#token;
  }

  async login(name: string, password: string, project: string): Promise<string> {
    const domain = { id: "default" };
    const auth = { identity: { methods: ["password"], password: { user: { name, domain, password } } }, scope: { project: { name: project, domain } } };
    const response = await fetch(`${this.url}/identity/v3/auth/tokens`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ auth }) });
    if (response.status !== 201) throw new Error(`No token for ${name}: ${response.status} ${await response.text()}`);
    return response.headers.get("x-subject-token") ?? "";
  }

  /** Asks as the administrator. A body that is an object goes as JSON. */
  async ask(method: string, path: string, options: { body?: unknown; headers?: Record<string, string>; token?: string } = {}): Promise<Response> {
    const { body, headers = {} } = options;
    const json = typeof body === "object" && body !== null && !(body instanceof Uint8Array) && !(body instanceof ReadableStream);
    return fetch(this.url + path, {
      method,
      headers: { "x-auth-token": options.token ?? (await this.token()), ...(json && { "content-type": "application/json" }), ...headers },
      ...(body !== undefined && { body: json ? JSON.stringify(body) : (body as string), duplex: "half" }),
    });
  }

  /** The JSON of the answer, which must have the given status. */
  // biome-ignore lint/suspicious/noExplicitAny: answers are looked into by the tests.
  async json(method: string, path: string, options: { body?: unknown; headers?: Record<string, string>; status?: number; token?: string } = {}): Promise<any> {
    const response = await this.ask(method, path, options);
    const text = await response.text();
    const wanted = options.status ?? (method === "POST" ? [200, 201, 202] : [200, 202, 204]);
    if (![wanted].flat().includes(response.status)) throw new Error(`${method} ${path}: ${response.status} ${text}`);
    return text === "" ? undefined : JSON.parse(text);
  }

  /** Asks again and again until `done` says so. */
  async until<T>(look: () => Promise<T>, done: (value: T) => boolean, limitMs = 60_000): Promise<T> {
    for (const endMs = Date.now() + limitMs; ; ) {
      const value = await look();
      if (done(value)) return value;
      if (Date.now() > endMs) throw new Error(`Waited ${limitMs} ms in vain: ${JSON.stringify(value)}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  /** `mica audit` on its data folder, in a process of its own: its exit code and lines. */
  async audit(): Promise<{ code: number | null; output: string }> {
    const child = spawn(MICA, ["audit", "--data-dir", this.dataDir], { stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, ...this.#options.env } });
    let output = "";
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => (output += chunk));
    const code = await new Promise<number | null>((resolve) => child.once("close", resolve));
    return { code, output };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    if (!this.#options.dataDir) await rm(this.dataDir, { recursive: true, force: true });
  }
}
