import { lookup as resolve, type LookupAddress } from "node:dns";
import { type Agent, Agent as HttpAgent, type IncomingMessage, request as httpRequest, type RequestOptions } from "node:http";
import { Agent as HttpsAgent, request as httpsRequest } from "node:https";
import { isIP } from "node:net";
import { AppError } from "#/domain/errors.ts";
import { isPublicAddress } from "#/storage/http/addresses.ts";

export interface OutboundOptions {
  /** `HOST` or `HOST:PORT`, as in URLs: these may have addresses that are not public. */
  readonly allowedHosts: readonly string[];
  /** Certificates that are trusted. */
  readonly ca?: readonly string[] | undefined;
  readonly silenceMsMax: number;
}

export interface OutboundRequest {
  readonly method: "GET" | "HEAD";
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal | undefined;
}

const REDIRECTS_MAX = 5;
const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

/**
 * Requests to servers that users name. The address is what counts, not the name: each is checked when it was resolved, for
 * every redirect anew, and the connection goes to the very address that was checked, so that a name which answers
 * differently the second time (DNS rebinding) leads nowhere. No proxy, no cookies, no credentials.
 */
export class Outbound implements Disposable {
  readonly #options: OutboundOptions;
  readonly #agents: { readonly "http:": Agent; readonly "https:": HttpsAgent };

  constructor(options: OutboundOptions) {
    this.#options = options;
    const common = { keepAlive: true, maxSockets: 16 };
    this.#agents = { "http:": new HttpAgent(common), "https:": new HttpsAgent({ ...common, ...(options.ca && { ca: [...options.ca] }) }) };
  }

  /** Throws `bad_request` for a URL that no image may be read from, as far as that can be known without asking anybody. */
  check(text: string): URL {
    const url = URL.canParse(text) ? new URL(text) : undefined;
    if (url?.protocol !== "http:" && url?.protocol !== "https:") throw new AppError("bad_request", "it is no http or https URL");
    if (url.username !== "" || url.password !== "") throw new AppError("bad_request", "its URL has a name or password in it");
    const literal = url.hostname.replace(/^\[|\]$/g, "");
    // Odd spellings (0x7f.1, 2130706433) are plain addresses by now: that is how URLs are parsed.
    if (isIP(literal) !== 0 && !this.#isAllowed(url)) requirePublic(url.hostname, [literal]);
    return url;
  }

  /** The answer, its body unread, after all redirects. Errors: `bad_request` for where it may not go, `pool_unavailable`, `cancelled`. */
  async request(text: string, request: OutboundRequest): Promise<IncomingMessage> {
    let url = this.check(text);
    for (let redirects = 0; redirects <= REDIRECTS_MAX; redirects++) {
      const answer = await this.#ask(url, request);
      const next = answer.headers.location;
      if (!REDIRECTS.has(answer.statusCode ?? 0) || next === undefined) return answer;
      answer.destroy();
      url = this.#follow(url, next);
    }
    throw new AppError("bad_request", `${url.host} redirects more than ${REDIRECTS_MAX} times`);
  }

  [Symbol.dispose](): void {
    for (const agent of Object.values(this.#agents)) agent.destroy();
  }

  #follow(from: URL, to: string): URL {
    const url = this.check(URL.canParse(to, from) ? new URL(to, from).href : "");
    if (from.protocol === "https:" && url.protocol === "http:") throw new AppError("bad_request", `${from.host} redirects from https to http`);
    return url;
  }

  #isAllowed({ hostname, host, port, protocol }: URL): boolean {
    const withPort = port === "" ? `${hostname}:${protocol === "https:" ? 443 : 80}` : host;
    return this.#options.allowedHosts.some((allowed) => [hostname, withPort].includes(allowed.toLowerCase()));
  }

  #ask(url: URL, { method, headers = {}, signal }: OutboundRequest): Promise<IncomingMessage> {
    const { silenceMsMax } = this.#options;
    const options: RequestOptions = {
      method,
      // The bytes themselves, not packed by the server.
      headers: { "user-agent": "mica", accept: "*/*", "accept-encoding": "identity", ...headers },
      agent: this.#agents[url.protocol as "http:" | "https:"],
      lookup: this.#isAllowed(url) ? resolve : resolvePublic,
      timeout: silenceMsMax,
      ...(signal && { signal }),
    };
    return new Promise((answered, failed) => {
      const request = (url.protocol === "https:" ? httpsRequest : httpRequest)(url, options, answered);
      request.on("timeout", () => request.destroy(new AppError("pool_unavailable", `${url.host} has sent nothing for ${silenceMsMax / 1000} s`)));
      request.on("error", (error) => failed(asOutboundError(url, error)));
      request.end();
    });
  }
}

/** What node throws, as an AppError. `url` is named without its query, which may be a signature. */
export function asOutboundError({ host }: Pick<URL, "host">, error: unknown): unknown {
  if (error instanceof AppError || !(error instanceof Error)) return error;
  if (error.name === "AbortError") return new AppError("cancelled", "it was cancelled", { cause: error });
  return new AppError("pool_unavailable", `${host} cannot be read: ${error.message}`, { cause: error });
}

type Resolved = (error: NodeJS.ErrnoException | null, address: string | LookupAddress[], family?: number) => void;

/** dns.lookup, but that every address of the name must be public. */
function resolvePublic(hostname: string, options: { all?: boolean | undefined }, resolved: Resolved): void {
  resolve(hostname, { ...options, all: true }, (error, addresses) => {
    if (error) return resolved(error, []);
    try {
      requirePublic(hostname, addresses.map(({ address }) => address));
    } catch (refusal) {
      return resolved(refusal as Error, []);
    }
    const [first] = addresses;
    if (options.all || !first) resolved(null, addresses);
    else resolved(null, first.address, first.family);
  });
}

function requirePublic(host: string, addresses: readonly string[]): void {
  const inner = addresses.find((address) => !isPublicAddress(address));
  if (inner !== undefined) throw new AppError("bad_request", `${host} has the address ${inner}, which is not public: an administrator can add it to allowedHosts`);
}
