import type { AppContext } from "#/app/context.ts";
import { imageFormOf } from "#/app/image-form.ts";
import type { Materialise } from "#/app/materialise.ts";
import type { VolumeCreation } from "#/app/volume-creation.ts";
import type { Volumes } from "#/app/volumes.ts";
import type { Config } from "#/config/schema.ts";
import { type Caller, requireRole } from "#/domain/caller.ts";
import { AppError } from "#/domain/errors.ts";
import type { ImageDiskFormat } from "#/domain/image.ts";
import type { Plan } from "#/planner/plan.ts";

export interface PlanRequest {
  readonly source: { readonly kind: "blank" | "image" | "volume" | "snapshot"; readonly id?: string };
  readonly target: {
    readonly kind: "volume" | "image";
    readonly sizeGib?: number;
    readonly volumeType?: string;
    readonly diskFormat?: ImageDiskFormat;
    readonly containerFormat?: "bare" | "compressed";
  };
}

/** Dry runs: what would be done, which way and why, under the same rules as the real call, and nothing is done. */
export class Plans {
  readonly #materialise: Materialise;
  readonly #volumes: Volumes;
  readonly #creation: VolumeCreation;
  readonly #config: Config;

  constructor({ config }: Pick<AppContext, "config">, { materialise, volumes, creation }: { materialise: Materialise; volumes: Volumes; creation: VolumeCreation }) {
    this.#config = config;
    this.#materialise = materialise;
    this.#volumes = volumes;
    this.#creation = creation;
  }

  async plan(caller: Caller, request: PlanRequest): Promise<Plan> {
    requireRole(caller, "reader", "plan");
    return request.target.kind === "volume" ? this.#planVolume(caller, request) : this.#planImage(caller, request);
  }

  async #planVolume(caller: Caller, { source, target }: PlanRequest): Promise<Plan> {
    for (const option of ["diskFormat", "containerFormat"] as const) {
      if (target[option] !== undefined) throw new AppError("bad_request", `A volume has no ${option}: leave it out, or make the target an image.`);
    }
    const id = source.kind === "blank" ? undefined : idOf(source);
    return this.#creation.plan(caller, {
      name: null,
      description: null,
      metadata: {},
      sizeGib: target.sizeGib,
      volumeType: target.volumeType,
      imageId: source.kind === "image" ? id : undefined,
      snapshotId: source.kind === "snapshot" ? id : undefined,
      sourceVolumeId: source.kind === "volume" ? id : undefined,
    });
  }

  async #planImage(caller: Caller, { source, target }: PlanRequest): Promise<Plan> {
    if (source.kind !== "volume") throw new AppError("bad_request", `An image can be made of a volume, not of ${source.kind === "blank" ? "nothing" : `a ${source.kind}`}.`);
    const volume = await this.#volumes.get(caller, idOf(source));
    const { diskFormat = "raw", containerFormat = "bare" } = target;
    return this.#materialise.planImage({ volumeId: volume.id, form: imageFormOf(this.#config, { diskFormat, containerFormat }) });
  }
}

function idOf(source: PlanRequest["source"]): string {
  if (source.id === undefined) throw new AppError("bad_request", `Say which ${source.kind}: source.id is missing.`);
  return source.id;
}
