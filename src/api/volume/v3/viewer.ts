import type { FastifyRequest } from "fastify";
import type { BaseUrls } from "#/api/base-urls.ts";
import { type Link, nextLinks } from "#/api/links.ts";
import { isAdmin } from "#/domain/caller.ts";

/** Who looks at a record, with which microversion, and from where: what the views depend on. */
export interface Viewer {
  /** The microversion's number after the dot. */
  readonly minor: number;
  readonly isAdmin: boolean;
  /** The `links` of a record. */
  links(collection: string, id: string): Link[];
  /** The `<collection>_links` of a page that has more behind it; undefined on the last. */
  nextLinks(lastId: string | undefined): Link[] | undefined;
}

export class Viewers {
  readonly #baseUrls: BaseUrls;

  constructor(baseUrls: BaseUrls) {
    this.#baseUrls = baseUrls;
  }

  of(request: FastifyRequest): Viewer {
    const baseUrl = this.#baseUrls.of(request);
    const { projectId } = request.caller;
    return {
      minor: request.microversion,
      isAdmin: isAdmin(request.caller),
      links: (collection, id) => [
        { rel: "self", href: `${baseUrl}/volume/v3/${projectId}/${collection}/${id}` },
        { rel: "bookmark", href: `${baseUrl}/volume/${projectId}/${collection}/${id}` },
      ],
      nextLinks: (lastId) => nextLinks(request.url, baseUrl, lastId),
    };
  }

  /** For documents that link to themselves. */
  baseUrl(request: FastifyRequest): string {
    return this.#baseUrls.of(request);
  }
}
