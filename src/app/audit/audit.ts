import { setTimeout } from "node:timers/promises";
import type { Database } from "#/db/database.ts";
import type { Pools } from "#/storage/pools.ts";
import type { HypervisorDriver } from "#/vm/driver.ts";
import { auditCaptures } from "./captures.ts";
import { auditDisks } from "./disks.ts";
import type { Finding } from "./finding.ts";
import { auditRecords } from "./records.ts";
import { auditServers } from "./servers.ts";
import { auditSums } from "./sums.ts";

export interface AuditedWorld {
  readonly db: Database;
  readonly pools: Pools;
  readonly hypervisor: HypervisorDriver;
  /** Where the host keeps what belongs to servers beside their disks. */
  readonly serversDir: string;
}

/** Between two looks, so that what was only under way is over, or has moved on. */
const SECOND_LOOK_MS = 500;

/**
 * Every byte is owned by exactly one record, every record has its bytes, chains are whole and sums are right: what is
 * not so, is found. It may run beside a working service: what is seen is looked at again, and only what is still so counts.
 */
export async function audit(world: AuditedWorld): Promise<Finding[]> {
  const first = await look(world);
  if (first.length === 0) return [];
  await setTimeout(SECOND_LOOK_MS);
  const again = new Set((await look(world)).map(keyOf));
  return first.filter((found) => again.has(keyOf(found)));
}

async function look({ db, pools, hypervisor, serversDir }: AuditedWorld): Promise<Finding[]> {
  const ofServers = [...(await auditServers(db, hypervisor)), ...(await auditCaptures(db, hypervisor, { serversDir }))];
  return [...(await auditDisks(db, pools)), ...(await auditRecords(db)), ...ofServers, ...(await auditSums(db))];
}

/** Sums may differ by another amount the second time: what they say does not count, what they are about does. */
const keyOf = ({ kind, subject }: Finding): string => `${kind} ${subject}`;
