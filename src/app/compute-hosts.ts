import { randomUUID } from "node:crypto";
import { hostname } from "node:os";
import type { AppContext } from "#/app/context.ts";
import { roomOf } from "#/app/pool-facts.ts";
import { listAggregates } from "#/db/aggregates.ts";
import {
  type ComputeServiceRow,
  ensureComputeService,
  findComputeService,
  type HostUse,
  listComputeServices,
  removeComputeService,
  serversOnHost,
  updateComputeService,
  useOfHost,
} from "#/db/compute-services.ts";
import type { Database } from "#/db/database.ts";
import { zoneOfHost } from "#/domain/aggregate.ts";
import { type Caller, requireRole } from "#/domain/caller.ts";
import { AppError } from "#/domain/errors.ts";
import type { HostFacts } from "#/vm/driver.ts";

/** A host that servers run on, as it stands now. */
export interface ComputeHost {
  readonly service: ComputeServiceRow;
  readonly zone: string;
  /** Its hypervisor answers, and nobody said that it is down. */
  readonly isUp: boolean;
  /** Undefined while its hypervisor does not answer. */
  readonly facts: HostFacts | undefined;
}

/** What a host has, and what of it is given away. */
export interface HostRoom {
  readonly use: HostUse;
  /** Of the pools for servers' disks. */
  readonly diskTotalBytes: number;
  readonly diskFreeBytes: number;
}

export interface ServiceChanges {
  readonly disabled?: boolean | undefined;
  readonly disabledReason?: string | null | undefined;
  readonly forcedDown?: boolean | undefined;
}

/** The hosts that servers run on: what their hypervisors say, and what operators have said of them. */
export class ComputeHosts {
  readonly #context: AppContext;

  constructor(context: AppContext) {
    this.#context = context;
  }

  /** Every host that is or was known, by the name that its servers have it by. The hypervisor may call it otherwise. */
  async list(caller: Caller): Promise<ComputeHost[]> {
    requireRole(caller, "admin", "see the hosts of servers");
    return this.#all();
  }

  /** By the id of its service, which is also the hypervisor's: a UUID, or the number that it had before 2.53. */
  async find(caller: Caller, id: string): Promise<ComputeHost | undefined> {
    return (await this.list(caller)).find(({ service }) => service.id === id || String(service.number) === id);
  }

  async findByName(caller: Caller, host: string): Promise<ComputeHost | undefined> {
    return (await this.list(caller)).find(({ service }) => service.host === host);
  }

  /** The zones that servers can be asked to be in, each with its hosts. */
  async zones(caller: Caller): Promise<Map<string, ComputeHost[]>> {
    requireRole(caller, "reader", "see availability zones");
    const zones = new Map<string, ComputeHost[]>();
    for (const host of await this.#all()) zones.getOrInsertComputed(host.zone, () => []).push(host);
    return zones;
  }

  async room(host: string): Promise<HostRoom> {
    const { db, pools } = this.#context;
    const rooms = await Promise.all(pools.withRole("servers").map((pool) => roomOf(db, pool).catch(ignoreDown)));
    const sum = (of: "totalBytes" | "freeBytes") => rooms.reduce((total, room) => total + (room?.[of] ?? 0), 0);
    return { use: await useOfHost(db, host), diskTotalBytes: sum("totalBytes"), diskFreeBytes: sum("freeBytes") };
  }

  async servers(host: string): Promise<{ readonly id: string; readonly name: string }[]> {
    return serversOnHost(this.#context.db, host);
  }

  /** A disabled host gets no more servers; those that it has go on. */
  async change(caller: Caller, { service }: ComputeHost, { disabled, disabledReason, forcedDown }: ServiceChanges): Promise<ComputeHost> {
    requireRole(caller, "admin", "change compute services");
    const { db, clock } = this.#context;
    await updateComputeService(db, service.id, {
      ...(disabled !== undefined && { disabled: Number(disabled), disabled_reason: null }),
      ...(disabledReason !== undefined && { disabled_reason: disabledReason }),
      ...(forcedDown !== undefined && { forced_down: Number(forcedDown) }),
      updated_at: clock.nowMs(),
    });
    const changed = await this.find(caller, service.id);
    if (!changed) throw new AppError("not_found", `Compute service ${service.id} could not be found.`);
    return changed;
  }

  /** Forgets a host, which must have no servers. The one that this process runs on is known again when it is looked at next. */
  async remove(caller: Caller, { service }: ComputeHost): Promise<void> {
    requireRole(caller, "admin", "delete compute services");
    const { db } = this.#context;
    if ((await serversOnHost(db, service.host)).length > 0) {
      throw new AppError("conflict", "Unable to delete compute service that is hosting instances. Migrate or delete the instances first.");
    }
    await removeComputeService(db, service.id);
  }

  async #all(): Promise<ComputeHost[]> {
    const { db, clock, config, hypervisor } = this.#context;
    const facts = await hypervisor.facts().catch(ignoreDown);
    await ensureComputeService(db, hostname(), { id: randomUUID(), nowMs: clock.nowMs() });
    const aggregates = await listAggregates(db);
    return (await listComputeServices(db)).map((service) => {
      const own = service.host === hostname() ? facts : undefined;
      const isUp = own !== undefined && service.forced_down === 0;
      return { service, facts: own, isUp, zone: zoneOfHost(service.host, aggregates, config.availabilityZone) };
    });
  }
}

/** Why the host gets no new servers, in words; undefined where it may. */
export async function whyNotScheduled(db: Database, host: string): Promise<string | undefined> {
  const service = await findComputeService(db, host);
  if (!service) return undefined;
  if (service.forced_down) return `host ${host} is forced down`;
  return service.disabled ? `host ${host} is disabled${service.disabled_reason ? `: ${service.disabled_reason}` : ""}` : undefined;
}

/** What does not answer is not there now. */
function ignoreDown(error: unknown): undefined {
  if (!(error instanceof AppError)) throw error;
  return undefined;
}
