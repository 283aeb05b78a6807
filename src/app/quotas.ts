import type { AppContext } from "#/app/context.ts";
import type { Database } from "#/db/database.ts";
import { addQuotaUsage, quotaUsage } from "#/db/quota-usage.ts";
import { clearQuotaLimits, type Limits, quotaLimits, setQuotaLimits } from "#/db/quotas.ts";
import { type Caller, isAdmin, requireRole } from "#/domain/caller.ts";
import { AppError } from "#/domain/errors.ts";
import {
  COMPUTE_QUOTA_RESOURCES,
  type ComputeQuotaResource,
  QUOTA_RESOURCES,
  type QuotaAmounts,
  type QuotaFamily,
  type QuotaResource,
  refuseLargerVolume,
  refuseOverQuota,
  TYPED_QUOTA_RESOURCES,
  UNLIMITED,
} from "#/domain/quota.ts";
import { GiB } from "#/lib/units.ts";

/** A limit and what is used of it, in records or GiB. */
export interface QuotaStanding {
  readonly limit: number;
  readonly used: number;
}

/** Stands for the default quota class in the table of limits: no project's id has a colon. */
const DEFAULT_CLASS = "class:default";

/** How much a project may have: its own limits, else the default quota class's, else the configured ones. */
export class Quotas {
  readonly #context: AppContext;
  readonly #family: QuotaFamily;

  /** `family`: whose resources are shown and set. Amounts of all of them can be taken. */
  constructor(context: AppContext, family: QuotaFamily = "volumes") {
    this.#context = context;
    this.#family = family;
  }

  /** Takes the amounts for the project, or throws `quota_exceeded`; in the transaction that makes the record. */
  async take(trx: Database, projectId: string, amounts: QuotaAmounts): Promise<void> {
    const limitOf = await this.#limits(trx, projectId);
    const used = await quotaUsage(trx, projectId);
    refuseOverQuota(amounts, limitOf, (resource) => used.get(resource) ?? 0);
    await addQuotaUsage(trx, projectId, amounts);
  }

  /** Throws `quota_exceeded` where a volume of that size is beyond what one volume may have. */
  async refuseLargerVolume(db: Database, projectId: string, sizeGib: number): Promise<void> {
    const limitOf = await this.#limits(db, projectId);
    refuseLargerVolume(sizeGib, limitOf("per_volume_gigabytes"));
    refuseLargerVolume(sizeGib, Math.floor(this.#context.config.volumeSizeBytesMax / GiB));
  }

  /** What one resource may be at most in the project; −1 is without a limit. */
  async limit(db: Database, projectId: string, resource: string): Promise<number> {
    return (await this.#limits(db, projectId))(resource);
  }

  /** Every resource's limit and use. Only of the caller's own project, unless it is an admin. */
  async standing(caller: Caller, projectId: string): Promise<Map<string, QuotaStanding>> {
    if (projectId !== caller.projectId) requireRole(caller, "admin", "see the quotas of another project");
    const { db } = this.#context;
    const [limitOf, used] = [await this.#limits(db, projectId), await quotaUsage(db, projectId)];
    return new Map((await this.#resources()).map((resource) => [resource, { limit: limitOf(resource), used: used.get(resource) ?? 0 }]));
  }

  /** The limits of projects that have none of their own. */
  async defaults(): Promise<Map<string, number>> {
    const classLimits = await quotaLimits(this.#context.db, DEFAULT_CLASS);
    return new Map((await this.#resources()).map((resource) => [resource, classLimits.get(resource) ?? this.#configured(resource)]));
  }

  /** Sets limits of a project. With `refuseBelowUse`, not below what it has already. */
  async set(
    caller: Caller,
    projectId: string,
    limits: Readonly<Record<string, number>>,
    { refuseBelowUse }: { refuseBelowUse: boolean },
  ): Promise<void> {
    requireRole(caller, "admin", "change quotas");
    await this.#refuseUnknown(limits);
    await this.#context.db.transaction().execute(async (trx) => {
      if (refuseBelowUse) await refuseLimitsBelowUse(trx, projectId, limits);
      await setQuotaLimits(trx, projectId, limits);
    });
  }

  /** Gives a project the default limits again. */
  async reset(caller: Caller, projectId: string): Promise<void> {
    requireRole(caller, "admin", "change quotas");
    await clearQuotaLimits(this.#context.db, projectId, await this.#resources());
  }

  /** Sets the limits of all projects that have none of their own. */
  async setDefaults(caller: Caller, limits: Readonly<Record<string, number>>): Promise<void> {
    requireRole(caller, "admin", "change quotas");
    await this.#refuseUnknown(limits);
    await setQuotaLimits(this.#context.db, DEFAULT_CLASS, limits);
  }

  async #limits(db: Database, projectId: string): Promise<(resource: string) => number> {
    const own: Limits = await quotaLimits(db, projectId);
    const classLimits: Limits = await quotaLimits(db, DEFAULT_CLASS);
    return (resource) => own.get(resource) ?? classLimits.get(resource) ?? this.#configured(resource);
  }

  #configured(resource: string): number {
    const { quotas } = this.#context.config;
    const limits: Record<QuotaResource | ComputeQuotaResource, number> = {
      instances: quotas.instances,
      cores: quotas.cores,
      ram: quotas.ramMib,
      key_pairs: quotas.keyPairs,
      metadata_items: quotas.metadataItems,
      server_groups: quotas.serverGroups,
      server_group_members: quotas.serverGroupMembers,
      injected_files: quotas.injectedFiles,
      injected_file_content_bytes: quotas.injectedFileContentBytes,
      injected_file_path_bytes: quotas.injectedFilePathBytes,
      volumes: quotas.volumes,
      snapshots: quotas.snapshots,
      gigabytes: quotas.gigabytes,
      per_volume_gigabytes: quotas.perVolumeGigabytes,
      backups: 0,
      backup_gigabytes: 0,
      groups: 0,
    };
    return limits[resource as keyof typeof limits] ?? UNLIMITED;
  }

  async #resources(): Promise<string[]> {
    if (this.#family === "servers") return [...COMPUTE_QUOTA_RESOURCES];
    const types = await this.#context.db.selectFrom("volume_type").select("name").orderBy("name").execute();
    const typed = types.flatMap(({ name }) => TYPED_QUOTA_RESOURCES.map((resource) => `${resource}_${name}`));
    return [...QUOTA_RESOURCES, ...typed];
  }

  async #refuseUnknown(limits: Readonly<Record<string, number>>): Promise<void> {
    const known = new Set(await this.#resources());
    const unknown = Object.keys(limits).filter((resource) => !known.has(resource));
    if (unknown.length > 0) throw new AppError("bad_request", `Bad key(s) in quota set: ${unknown.join(", ")}`);
  }
}

/** Whose quotas a caller asks for: its own project's, unless it is an admin and names another. */
export function quotaProject(caller: Caller, asked: string | undefined): string {
  return asked !== undefined && isAdmin(caller) ? asked : caller.projectId;
}

async function refuseLimitsBelowUse(trx: Database, projectId: string, limits: Readonly<Record<string, number>>): Promise<void> {
  const used = await quotaUsage(trx, projectId);
  for (const [resource, limit] of Object.entries(limits)) {
    const inUse = used.get(resource) ?? 0;
    if (limit !== UNLIMITED && limit < inUse) {
      throw new AppError(
        "bad_request",
        `Quota limit ${limit} for ${resource} must be equal to or greater than already used quota ${inUse}.`,
      );
    }
  }
}
