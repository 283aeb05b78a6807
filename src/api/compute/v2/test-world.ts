import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { LightMyRequestResponse } from "fastify";
import type { Session } from "#/api/test-server.ts";
import { type ConfigChanges, TestWorld, type WorldOptions } from "#/api/volume/v3/test-world.ts";
import { type Compute, openCompute } from "#/app/compute.ts";
import { FileDriver } from "#/storage/file/driver.ts";
import { mountCompute } from "./routes.ts";

type Method = "GET" | "POST" | "PUT" | "DELETE";

export interface Call {
  readonly as?: Session;
  /** The microversion's number after the dot; the newest where it is left out. */
  readonly minor?: number;
  readonly body?: object | string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** Requests against the Compute API, beside Block Storage and with everything real below both: a pool in a folder, and the twin of a hypervisor. */
export class ComputeWorld implements AsyncDisposable {
  /** Its volumes, images, people, and operations. */
  readonly base: TestWorld;
  readonly compute: Compute;
  readonly #dir: string;

  /** `mount`: further APIs beside it. */
  static async open(changes: ConfigChanges = {}, mount?: WorldOptions["mount"]): Promise<ComputeWorld> {
    const dir = await mkdtemp(join(tmpdir(), "mica-compute-"));
    const pool = join(dir, "pool");
    await mkdir(pool);
    let compute: Compute | undefined;
    const base = await TestWorld.open(changes, {
      base: await FileDriver.open(pool),
      dir,
      mount: (app, context, storage) => {
        compute = openCompute(context, storage);
        mountCompute(app, context, compute);
        mount?.(app, context, storage);
      },
    });
    assert.ok(compute);
    return new ComputeWorld(base, compute, dir);
  }

  private constructor(base: TestWorld, compute: Compute, dir: string) {
    this.base = base;
    this.compute = compute;
    this.#dir = dir;
  }

  /** Where hosts keep what servers have beside their disks. */
  get serversDir(): string {
    return join(this.#dir, "servers");
  }

  get alice(): Session {
    return this.base.alice;
  }
  get admin(): Session {
    return this.base.admin;
  }

  /** Asks as alice with the newest microversion, unless the call says otherwise. `path` begins behind /v2.1. */
  async ask(method: Method, path: string, { as = this.alice, minor = 104, body, headers = {} }: Call = {}): Promise<LightMyRequestResponse> {
    const all = {
      "openstack-api-version": `compute 2.${minor}`,
      ...(typeof body === "string" && { "content-type": "application/json" }),
      ...headers,
    };
    return this.base.server.request(method, `/compute/v2.1${path}`, { token: as.token, headers: all, ...(body !== undefined && { body }) });
  }

  /** The body of an answer that must have this status. */
  // biome-ignore lint/suspicious/noExplicitAny: tests look into bodies of every shape.
  async expect(status: number, method: Method, path: string, call: Call = {}): Promise<any> {
    const answer = await this.ask(method, path, call);
    assert.equal(answer.statusCode, status, `${method} ${path}: ${answer.body}`);
    return answer.body === "" ? undefined : answer.json();
  }

  /** The message of a refusal that must have this status. */
  async refusal(status: number, method: Method, path: string, call: Call = {}): Promise<string> {
    const body = await this.expect(status, method, path, call);
    const [fault] = Object.values(body as Record<string, { code: number; message: string }>);
    assert.equal(fault?.code, status);
    return fault?.message ?? "";
  }

  /** A server of an image, at rest; 192 MiB, without a network, or what `fields` say. */
  async makeServer(fields: object = {}, call: Call = {}): Promise<string> {
    const imageRef = "imageRef" in fields ? undefined : await this.base.makeImage();
    const server = { name: "one", imageRef, flavorRef: "42", networks: "none", ...fields };
    const { server: made } = await this.expect(202, "POST", "/servers", { ...call, body: { server } });
    await this.base.settle();
    return made.id;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.base[Symbol.asyncDispose]();
    await rm(this.#dir, { recursive: true, force: true });
  }
}
