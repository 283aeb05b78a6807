import type { AppContext } from "#/app/context.ts";
import { Aggregates } from "#/app/aggregates.ts";
import { ComputeHosts } from "#/app/compute-hosts.ts";
import { Flavors } from "#/app/flavors.ts";
import { Keypairs } from "#/app/keypairs.ts";
import { Quotas } from "#/app/quotas.ts";

/** The use cases of servers and what belongs to them. */
export interface Compute {
  readonly flavors: Flavors;
  readonly keypairs: Keypairs;
  readonly quotas: Quotas;
  readonly hosts: ComputeHosts;
  readonly aggregates: Aggregates;
}

export function openCompute(context: AppContext): Compute {
  const quotas = new Quotas(context, "servers");
  const hosts = new ComputeHosts(context);
  return { flavors: new Flavors(context), keypairs: new Keypairs(context, quotas), quotas, hosts, aggregates: new Aggregates(context, hosts) };
}
