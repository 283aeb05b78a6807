import type { Static } from "typebox";
import type { PlanRequest as PlanRequestSchema } from "#/api/mica/v1/schema.ts";
import type { capturesView } from "#/api/mica/v1/view.ts";
import { SECOND_MS } from "#/lib/units.ts";
import { ClientError } from "./errors.ts";
import type { Session } from "./session.ts";

/** Mica's own API: plans, operations, pools, audit. Sizes in bytes, times in ms, points in time as ISO 8601. */
export class Mica {
  readonly #session: Session;

  constructor(session: Session) {
    this.#session = session;
  }

  /** How Mica would do it, without doing it. */
  async plan(request: PlanRequest): Promise<Plan> {
    const { plan } = await this.#session.json<{ plan: Plan }>("mica", "POST", "/plans", { what: "make the plan", json: request });
    return plan;
  }

  /** Every way to make an image of the server now. */
  async captures(serverId: string): Promise<Captures> {
    const path = `/servers/${encodeURIComponent(serverId)}/captures`;
    return (await this.#session.json<{ captures: Captures }>("mica", "GET", path, { what: `explain the server ${serverId}` })).captures;
  }

  /** Newest first, one page. */
  async operations(
    filter: { limit?: string | undefined; marker?: string | undefined; subject?: string | undefined; state?: string | undefined } = {},
  ): Promise<OperationPage> {
    const query = new URLSearchParams(Object.entries(filter).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]])));
    return this.#session.json("mica", "GET", `/operations?${query}`, { what: "list the operations" });
  }

  async operation(id: string): Promise<Operation> {
    const { operation } = await this.#session.json<{ operation: Operation }>("mica", "GET", `/operations/${encodeURIComponent(id)}`, {
      what: `show the operation ${id}`,
    });
    return operation;
  }

  async cancel(id: string): Promise<void> {
    await this.#session.json("mica", "POST", `/operations/${encodeURIComponent(id)}/cancel`, { what: `cancel the operation ${id}` });
  }

  /** The operation again and again, as it changes, until it has ended. A broken connection is taken up again. */
  async *follow(id: string, signal?: AbortSignal): AsyncGenerator<Operation> {
    for (let failures = 0; failures < 5; ) {
      try {
        for await (const operation of this.#events(id, signal)) {
          failures = 0;
          yield operation;
          if (operation.endedAt) return;
        }
      } catch (error) {
        if (error instanceof ClientError || signal?.aborted) throw error;
      }
      // The stream ended though the operation had not: Mica was restarted, say.
      failures++;
      await new Promise((resolve) => setTimeout(resolve, SECOND_MS));
    }
    throw new ClientError("unreachable", `Lost sight of the operation ${id}: the connection broke again and again.`, {
      fix: `Try: mica operations show ${id}`,
    });
  }

  async *#events(id: string, signal: AbortSignal | undefined): AsyncGenerator<Operation> {
    const path = `/operations/${encodeURIComponent(id)}/events`;
    const response = await this.#session.send("mica", "GET", path, {
      what: `follow the operation ${id}`,
      headers: { accept: "text/event-stream" },
      timeoutMs: 0,
      signal,
    });
    for await (const data of serverSentEvents(response)) yield JSON.parse(data) as Operation;
  }

  async pools(): Promise<readonly Pool[]> {
    return (await this.#session.json<{ pools: Pool[] }>("mica", "GET", "/pools", { what: "list the pools" })).pools;
  }

  async pool(name: string): Promise<Pool> {
    return (await this.#session.json<{ pool: Pool }>("mica", "GET", poolPath(name), { what: `show the pool ${name}` })).pool;
  }

  /** `pool`: as in the configuration. */
  async addPool(pool: object): Promise<Pool> {
    return (await this.#session.json<{ pool: Pool }>("mica", "POST", "/pools", { what: "add the pool", json: { pool } })).pool;
  }

  async drainPool(name: string): Promise<Pool> {
    return (await this.#session.json<{ pool: Pool }>("mica", "POST", `${poolPath(name)}/drain`, { what: `drain the pool ${name}` })).pool;
  }

  async undrainPool(name: string): Promise<Pool> {
    const what = `end the draining of the pool ${name}`;
    return (await this.#session.json<{ pool: Pool }>("mica", "POST", `${poolPath(name)}/undrain`, { what })).pool;
  }

  async removePool(name: string): Promise<void> {
    await this.#session.json("mica", "DELETE", poolPath(name), { what: `remove the pool ${name}` });
  }

  async dedupPool(name: string): Promise<Operation> {
    const what = `share what the disks of the pool ${name} hold alike`;
    return (await this.#session.json<{ operation: Operation }>("mica", "POST", `${poolPath(name)}/dedup`, { what })).operation;
  }
}

function poolPath(name: string): string {
  return `/pools/${encodeURIComponent(name)}`;
}

/** The data of each event of a stream (https://html.spec.whatwg.org/multipage/server-sent-events.html §9.2.6); comments are skipped. */
export async function* serverSentEvents(response: Response): AsyncGenerator<string> {
  let data: string[] = [];
  for await (const line of lines(response)) {
    if (line === "" && data.length > 0) yield data.splice(0).join("\n");
    if (line.startsWith("data:")) data = [...data, line.slice(5).replace(/^ /, "")];
  }
}

async function* lines(response: Response): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of response.body ?? []) {
    const parts = (rest + decoder.decode(chunk as Uint8Array, { stream: true })).split(/\r?\n/);
    rest = parts.pop() ?? "";
    yield* parts;
  }
}

export type PlanRequest = Static<typeof PlanRequestSchema>;

export type Captures = ReturnType<typeof capturesView>;
export type CaptureCall = Captures["calls"][number];
export type CaptureWay = CaptureCall["ways"][number];

export interface Plan {
  readonly strategy: string;
  readonly reason: string;
  readonly steps: readonly { readonly name: string; readonly description: string }[];
  readonly bytes: { readonly read: number; readonly written: number; readonly throughUs: number; readonly temporary: number };
  readonly dependsOnParent: boolean;
  readonly depth: number;
  readonly passedOver: readonly { readonly strategy: string; readonly because: string }[];
  /** Why this pool, where there were others. */
  readonly poolChoice?: { readonly because: string; readonly passedOver: readonly { readonly pool: string; readonly because: string }[] };
  /** How the bytes of a server's disk are read at one instant. */
  readonly capture?: {
    readonly method: string;
    readonly reason: string;
    readonly passedOver: readonly { readonly method: string; readonly because: string }[];
    readonly fallbacks: readonly string[];
  };
}

/** What was really done, in bytes; absent where nothing of the kind was. */
export interface Actual {
  readonly bytesRead?: number;
  readonly bytesWritten?: number;
  readonly bytesThroughUs?: number;
  readonly bytesTemporary?: number;
  readonly bytesShared?: number;
  /** The way that was taken in the end, and those that broke before. */
  readonly strategy?: string;
  readonly fellBack?: readonly { readonly strategy: string; readonly because: string }[];
  /** How a server's disks were captured; `level` from the instant on. */
  readonly capture?: {
    readonly methods: Readonly<Record<string, string>>;
    readonly level?: string;
    readonly because?: string;
    readonly freezeMs?: number;
    readonly downtimeMs?: number;
  };
}

export interface Operation {
  readonly id: string;
  readonly kind: string;
  readonly subject: { readonly kind: string; readonly id: string };
  readonly state: "running" | "undoing" | "done" | "undone" | "stuck";
  readonly step?: string | null;
  /** From 0 to 1, within the step. */
  readonly progress: number;
  readonly plan?: Plan | null;
  readonly actual?: Actual | null;
  readonly error?: { readonly code: string; readonly message: string; readonly fix?: string } | null;
  readonly createdAt: string;
  readonly endedAt?: string | null;
  readonly durationMs?: number | null;
  readonly steps?: readonly { readonly name: string; readonly state: string; readonly because?: string }[];
}

export interface OperationPage {
  readonly operations: readonly Operation[];
  readonly next?: string | null;
}

export interface Pool {
  readonly name: string;
  readonly driver: string;
  readonly roles: readonly string[];
  readonly state: "up" | "down";
  readonly reason?: string | null;
  readonly capacity?: {
    readonly totalBytes: number;
    readonly freeBytes: number;
    readonly provisionedBytes: number;
    readonly reservedBytes: number;
    /** How full the pool's own bookkeeping is, where that can run full by itself. */
    readonly metadataPercent?: number;
  } | null;
  readonly downSince?: string;
  /** It takes no new disks. */
  readonly drained: boolean;
  /** It is not in the configuration. */
  readonly added: boolean;
  readonly can?: {
    readonly clone: string;
    readonly snapshot: boolean;
    readonly offloadCopy: boolean;
    readonly addressable: string;
    readonly dedup?: boolean;
    /** How it knows what has changed between two disks. */
    readonly changes?: string;
    readonly place: string;
    readonly why?: Readonly<Record<string, string>>;
  };
  /** What its disks share, as it was last measured. */
  readonly space?: {
    readonly allocatedBytes: number;
    readonly physicalBytes: number;
    readonly sharedBytes: number;
    readonly measuredAt: string;
  };
  readonly disks?: { readonly count: number };
  readonly cache?: { readonly entries: number; readonly sizeBytes: number; readonly hits: number };
}
