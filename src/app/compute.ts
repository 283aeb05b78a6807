import type { AppContext } from "#/app/context.ts";
import { Flavors } from "#/app/flavors.ts";
import { Keypairs } from "#/app/keypairs.ts";
import { Quotas } from "#/app/quotas.ts";

/** The use cases of servers and what belongs to them. */
export interface Compute {
  readonly flavors: Flavors;
  readonly keypairs: Keypairs;
  readonly quotas: Quotas;
}

export function openCompute(context: AppContext): Compute {
  const quotas = new Quotas(context, "servers");
  return { flavors: new Flavors(context), keypairs: new Keypairs(context, quotas), quotas };
}
