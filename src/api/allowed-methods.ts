import type { FastifyInstance } from "fastify";

/** Which methods a path has, for the Allow header of a 405. The router knows only "this method on this path: yes or no". */
export class AllowedMethods {
  readonly #routes: { pattern: RegExp; methods: readonly string[] }[] = [];

  /** Learns the routes that are added to `app` and its plugins from now on. */
  constructor(app: Pick<FastifyInstance, "addHook">) {
    app.addHook("onRoute", ({ url, method }) => {
      this.#routes.push({ pattern: patternOf(url), methods: [method].flat() });
    });
  }

  /** The methods of the path, sorted; empty where there is no such path. */
  of(path: string): string[] {
    const trimmed = path.replace(/\/+$/, "") || "/";
    const methods = this.#routes.filter(({ pattern }) => pattern.test(trimmed)).flatMap((route) => route.methods);
    return [...new Set(methods)].toSorted();
  }
}

/** `/images/:id/file` → `^/images/[^/]+/file$`. Parameters with a regular expression of their own match as wide as any. */
function patternOf(url: string): RegExp {
  const segments = url.replace(/\/+$/, "").split("/").map(segmentPattern);
  return new RegExp(`^${segments.join("/") || "/"}$`);
}

function segmentPattern(segment: string): string {
  if (segment === "*") return ".*";
  return segment.includes(":") ? "[^/]+" : RegExp.escape(segment);
}
