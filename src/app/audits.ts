import { type Caller, requireRole } from "#/domain/caller.ts";
import { audit } from "./audit/audit.ts";
import type { Finding } from "./audit/finding.ts";
import type { AppContext } from "./context.ts";

/** The audit as a call: for administrators, since it looks over all projects. */
export class Audits {
  readonly #context: AppContext;

  constructor(context: AppContext) {
    this.#context = context;
  }

  async run(caller: Caller): Promise<{ findings: readonly Finding[]; checkedAt: string }> {
    requireRole(caller, "admin", "audit the service");
    const findings = await audit({ ...this.#context, serversDir: this.#context.config.servers.dir });
    return { findings, checkedAt: new Date(this.#context.clock.nowMs()).toISOString() };
  }
}
