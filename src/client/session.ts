import { SECOND_MS } from "#/lib/units.ts";
import type { Cloud } from "./cloud.ts";
import { answerError, ClientError } from "./errors.ts";

export type Service = "identity" | "image" | "volume" | "compute" | "mica";

export interface Call {
  /** Ends the sentence "Cannot …" in errors: "create the volume \"web\"". */
  readonly what: string;
  readonly json?: unknown;
  /** Bytes to send, instead of `json`. */
  readonly body?: ReadableStream<Uint8Array>;
  readonly headers?: Readonly<Record<string, string>>;
  /** For the whole answer; 0 for streams, which end by themselves. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal | undefined;
}

const TIMEOUT_MS = 60 * SECOND_MS;

/** Catalog types by service; the first that is there counts. */
const CATALOG_TYPES: Readonly<Record<Service, readonly string[]>> = {
  identity: [],
  image: ["image"],
  volume: ["block-storage", "volumev3"],
  compute: ["compute"],
  mica: ["mica"],
};

/** A token, the catalog that came with it, and calls with both. */
export class Session {
  readonly cloud: Cloud;
  #token = "";
  #endpoints = new Map<string, string>();
  #projectId = "";

  private constructor(cloud: Cloud) {
    this.cloud = cloud;
  }

  /** Logs in. Throws `unreachable` or `no_access`. */
  static async open(cloud: Cloud): Promise<Session> {
    const session = new Session(cloud);
    await session.#login();
    return session;
  }

  /** The project that the token is scoped to. */
  get projectId(): string {
    return this.#projectId;
  }

  /** The JSON of the answer; undefined where it has no body. */
  async json<Answer>(service: Service, method: string, path: string, call: Call): Promise<Answer> {
    const response = await this.send(service, method, path, call);
    const text = await response.text();
    return (text === "" ? undefined : JSON.parse(text)) as Answer;
  }

  /** The answer with its body still to be read. A token that has run out is replaced once, where the body can be sent again. */
  async send(service: Service, method: string, path: string, call: Call): Promise<Response> {
    const url = `${this.#endpoint(service)}${path}`;
    let response = await this.#fetch(url, method, call);
    if (response.status === 401 && !call.body) {
      await response.body?.cancel();
      await this.#login();
      response = await this.#fetch(url, method, call);
    }
    if (!response.ok) throw await answerError(response, `Cannot ${call.what}`);
    return response;
  }

  async #fetch(url: string, method: string, call: Call): Promise<Response> {
    const { json, body, headers = {}, timeoutMs = TIMEOUT_MS, signal } = call;
    const limits = [...(timeoutMs ? [AbortSignal.timeout(timeoutMs)] : []), ...(signal ? [signal] : [])];
    const init: RequestInit & { duplex?: "half" } = {
      method,
      headers: {
        accept: "application/json",
        "x-auth-token": this.#token,
        "openstack-api-version": "volume latest",
        ...(json === undefined ? {} : { "content-type": "application/json" }),
        ...headers,
      },
      signal: AbortSignal.any(limits),
    };
    if (json !== undefined) init.body = JSON.stringify(json);
    if (body) Object.assign(init, { body, duplex: "half" });
    try {
      return await fetch(url, init);
    } catch (cause) {
      throw connectionError(url, call.what, cause as Error);
    }
  }

  async #login(): Promise<void> {
    const what = `log in at ${this.cloud.authUrl} with ${this.cloud.from}`;
    const response = await this.#fetch(`${this.cloud.authUrl}/auth/tokens`, "POST", { what, json: { auth: this.cloud.auth } });
    if (!response.ok) throw await answerError(response, `Cannot ${what}`);
    const { token } = (await response.json()) as { token: LoginAnswer };
    this.#token = response.headers.get("x-subject-token") ?? "";
    this.#projectId = token.project?.id ?? "";
    this.#endpoints = new Map(
      token.catalog.map(({ type, endpoints }) => [type, endpoints.find((endpoint) => endpoint.interface === "public")?.url ?? ""]),
    );
  }

  #endpoint(service: Service): string {
    if (service === "identity") return this.cloud.authUrl;
    const found = CATALOG_TYPES[service].map((type) => this.#endpoints.get(type)).find((url) => url);
    const url = (found ?? (service === "mica" ? `${this.cloud.authUrl.replace(/\/identity\/v3$/, "")}/mica/v1` : "")).replace(/\/+$/, "");
    if (!url)
      throw new ClientError("refused", `The catalog of ${this.cloud.authUrl} has no ${service} service.`, {
        fix: "Is this address a Mica?",
      });
    return service === "image" && !url.endsWith("/v2") ? `${url}/v2` : url;
  }
}

interface LoginAnswer {
  readonly project?: { readonly id: string };
  readonly catalog: readonly {
    readonly type: string;
    readonly endpoints: readonly { readonly interface: string; readonly url: string }[];
  }[];
}

function connectionError(url: string, what: string, cause: Error): ClientError {
  if (cause.name === "TimeoutError") {
    return new ClientError("too_late", `Cannot ${what}: no answer in time from ${url}.`, {
      cause,
      fix: "See the log of `mica serve` for what keeps it busy.",
    });
  }
  if (cause.name === "AbortError") return new ClientError("too_late", `Cannot ${what}: interrupted.`, { cause });
  const reason = (cause.cause as Error | undefined)?.message || cause.message;
  return new ClientError("unreachable", `Cannot ${what}: ${reason || "connection refused"} (${new URL(url).origin}).`, {
    cause,
    fix: "Start Mica with `make start`, or name the one that runs: --os-cloud, --data-dir, or the OS_ variables.",
  });
}
