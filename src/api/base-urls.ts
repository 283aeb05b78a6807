import type { FastifyRequest } from "fastify";

/** How clients reach this server: as the operator says, else as the request at hand did. */
export class BaseUrls {
  readonly #publicUrl: string | undefined;

  constructor(publicUrl: string | undefined) {
    this.#publicUrl = publicUrl?.replace(/\/+$/, "");
  }

  /** Without a slash at its end. */
  of(request: FastifyRequest): string {
    return this.#publicUrl ?? `${request.protocol}://${request.host}`;
  }
}
