import { find } from "./records.ts";
import type { Session } from "./session.ts";

/** As much of a server as we look at (api-ref: Compute, "List servers"). */
interface Server {
  readonly id: string;
  readonly name: string;
}

export class Servers {
  readonly #session: Session;

  constructor(session: Session) {
    this.#session = session;
  }

  /** By id, or by a name that only one server has. */
  async find(idOrName: string): Promise<{ readonly id: string }> {
    return find("server", idOrName, async () => {
      // The filter is an expression, which a name may look like.
      const query = new URLSearchParams({ name: `^${idOrName.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&")}$` });
      const { servers } = await this.#session.json<{ servers: Server[] }>("compute", "GET", `/servers?${query}`, { what: "list the servers" });
      if (servers.length > 0) return servers;
      const { server } = await this.#session.json<{ server: Server }>("compute", "GET", `/servers/${encodeURIComponent(idOrName)}`, { what: `show the server ${idOrName}` });
      return [server];
    });
  }
}
