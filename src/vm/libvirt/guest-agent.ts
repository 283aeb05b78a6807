import { AppError } from "#/domain/errors.ts";
import { SECOND_MS } from "#/lib/units.ts";
import type { CallOptions } from "#/vm/call-options.ts";
import type { AgentCommand, Frozen } from "#/vm/driver.ts";
import type { LibvirtCalls } from "#/vm/libvirt/calls.ts";
import type { LimitedCall } from "#/vm/libvirt/connection.ts";
import { ERROR, isLibvirtError, LibvirtError } from "#/vm/libvirt/errors.ts";
import type { DomainRef } from "#/vm/libvirt/protocol.ts";

/** Libvirt waits for the agent in whole seconds, and says so; our own limit is for a libvirt that does not. */
const GRACE_MS = 250;

/** The agent in a guest, by way of libvirt, which speaks with it over the guest's serial port, one command at a time. */
export class GuestAgent {
  readonly #calls: LibvirtCalls;
  readonly #timeoutMs: number;
  /** Domains whose last call was a freeze that worked: libvirt knows its limit, and the guest need not wait until it is told again. */
  readonly #frozen = new Set<string>();

  constructor(calls: LibvirtCalls, timeoutMs: number) {
    this.#calls = calls;
    this.#timeoutMs = timeoutMs;
  }

  async command(domain: DomainRef, command: AgentCommand, options: CallOptions): Promise<unknown> {
    const json = JSON.stringify(command);
    const answer = await this.#within(domain, options, (limits, seconds) => this.#calls.agentCommand(domain, json, seconds, limits));
    return (JSON.parse(answer) as { return?: unknown } | null)?.return;
  }

  /** A second freeze is refused by the agent: so it is asked how things are. */
  async freeze(domain: DomainRef, options: CallOptions): Promise<Frozen> {
    const frozen = await this.#within(domain, options, async (limits, seconds) => {
      const sinceMs = performance.now();
      try {
        return { fileSystems: await this.#calls.freeze(domain, limits), sinceMs };
      } catch (error) {
        if (!(error instanceof LibvirtError)) throw error;
        const status = await this.#calls.agentCommand(domain, JSON.stringify({ execute: "guest-fsfreeze-status" }), seconds, limits).catch(() => "");
        if (!status.includes('"frozen"')) throw error;
        return { fileSystems: 1, sinceMs };
      }
    });
    this.#frozen.add(domain.uuid);
    return frozen;
  }

  async thaw(domain: DomainRef, options: CallOptions): Promise<void> {
    await this.#within(domain, options, (limits) => this.#calls.thaw(domain, limits));
  }

  async setUserPassword(domain: DomainRef, user: string, password: string, options: CallOptions): Promise<void> {
    await this.#within(domain, options, (limits) => this.#calls.setUserPassword(domain, user, password, limits));
  }

  async #within<Result>(domain: DomainRef, { signal, timeoutMs = this.#timeoutMs }: CallOptions, work: (limits: LimitedCall, seconds: number) => Promise<Result>): Promise<Result> {
    const seconds = Math.max(1, Math.floor(timeoutMs / SECOND_MS));
    const limits = { signal, timeoutMs: timeoutMs + GRACE_MS };
    try {
      if (!this.#frozen.delete(domain.uuid)) await this.#calls.setAgentResponseTimeout(domain, seconds, limits);
      return await work(limits, seconds);
    } catch (error) {
      throw isAgentTrouble(error) ? new AppError("agent_unavailable", error.message, { cause: error }) : error;
    }
  }
}

/** Whatever libvirt has to say but that the guest is not there or does not run. */
function isAgentTrouble(error: unknown): error is Error {
  if (error instanceof AppError) return error.code === "tool_timed_out";
  return error instanceof LibvirtError && !isLibvirtError(error, ERROR.noDomain, ERROR.operationInvalid);
}
