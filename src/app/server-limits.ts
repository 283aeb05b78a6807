import type { AppContext } from "#/app/context.ts";
import type { Quotas } from "#/app/quotas.ts";
import type { Caller } from "#/domain/caller.ts";
import { AppError } from "#/domain/errors.ts";
import { type ComputeQuotaResource, UNLIMITED } from "#/domain/quota.ts";

interface Limited {
  readonly metadata: Readonly<Record<string, string>>;
  /** Contents in base64. */
  readonly personality: readonly { readonly path: string; readonly contents: string }[];
}

/** The limits of what one server may be given beside hardware. */
export class ServerLimits {
  readonly #context: AppContext;
  readonly #quotas: Quotas;

  constructor(context: AppContext, quotas: Quotas) {
    this.#context = context;
    this.#quotas = quotas;
  }

  /** 403 in Nova's words (exception.MetadataLimitExceeded, OnsetFileLimitExceeded, …). */
  async refuseBeyond(caller: Caller, { metadata, personality }: Limited): Promise<void> {
    const checks: [ComputeQuotaResource, number, string][] = [
      ["metadata_items", Object.keys(metadata).length, "Maximum number of metadata items exceeds"],
      ["injected_files", personality.length, "Personality file limit exceeded: the limit is"],
      ["injected_file_path_bytes", longest(personality.map(({ path }) => Buffer.byteLength(path))), "Personality file path exceeds maximum length"],
      ["injected_file_content_bytes", longest(personality.map(({ contents }) => Buffer.byteLength(contents, "base64"))), "Personality file content exceeds maximum size"],
    ];
    for (const [resource, amount, complaint] of checks) await this.#refuseBeyond(caller, resource, { amount, complaint });
  }

  /** The same of what an image of a server is given, which had the limit of servers before 2.39 (nova/api/openstack/common.py `check_img_metadata_properties_quota`). */
  async refuseImageMetadata(caller: Caller, metadata: Limited["metadata"]): Promise<void> {
    await this.#refuseBeyond(caller, "metadata_items", { amount: Object.keys(metadata).length, complaint: "Image metadata limit exceeded: the limit is" });
  }

  async #refuseBeyond({ projectId }: Caller, resource: ComputeQuotaResource, { amount, complaint }: { amount: number; complaint: string }): Promise<void> {
    if (amount === 0) return;
    const limit = await this.#quotas.limit(this.#context.db, projectId, resource);
    if (limit !== UNLIMITED && amount > limit) throw new AppError("server_quota_exceeded", `${complaint} ${limit}`);
  }
}

const longest = (lengths: readonly number[]): number => Math.max(0, ...lengths);
