import type { AppContext } from "#/app/context.ts";
import type { ServerCaptures } from "#/app/server-captures.ts";
import { imageFormOf } from "#/app/image-form.ts";
import type { Materialise } from "#/app/materialise.ts";
import { planUpload } from "#/app/upload-plans.ts";
import type { VolumeCreation } from "#/app/volume-creation.ts";
import type { Volumes } from "#/app/volumes.ts";
import { type Caller, requireRole } from "#/domain/caller.ts";
import { AppError } from "#/domain/errors.ts";
import type { ImageDiskFormat } from "#/domain/image.ts";
import type { Plan } from "#/planner/plan.ts";

export interface PlanRequest {
  readonly source: { readonly kind: "blank" | "image" | "volume" | "snapshot" | "server"; readonly id?: string };
  readonly target: {
    readonly kind: "volume" | "image";
    readonly sizeGib?: number;
    readonly volumeType?: string;
    readonly diskFormat?: ImageDiskFormat;
    readonly containerFormat?: "bare" | "compressed";
  };
}

interface PlansParts {
  readonly materialise: Materialise;
  readonly volumes: Volumes;
  readonly creation: VolumeCreation;
  readonly captures: Pick<ServerCaptures, "plan">;
}

/** Dry runs: what would be done, which way and why, under the same rules as the real call, and nothing is done. */
export class Plans {
  readonly #context: AppContext;
  readonly #parts: PlansParts;

  constructor(context: AppContext, parts: PlansParts) {
    this.#context = context;
    this.#parts = parts;
  }

  async plan(caller: Caller, request: PlanRequest): Promise<Plan> {
    requireRole(caller, "reader", "plan");
    return request.target.kind === "volume" ? this.#planVolume(caller, request) : this.#planImage(caller, request);
  }

  async #planVolume(caller: Caller, { source, target }: PlanRequest): Promise<Plan> {
    for (const option of ["diskFormat", "containerFormat"] as const) {
      if (target[option] !== undefined) throw new AppError("bad_request", `A volume has no ${option}: leave it out, or make the target an image.`);
    }
    if (source.kind === "server") throw new AppError("bad_request", "A volume cannot be made of a server: make an image of it, and a volume of that.");
    const id = source.kind === "blank" ? undefined : idOf(source);
    return this.#parts.creation.plan(caller, {
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
    if (source.kind === "server") return this.#planServerImage(caller, idOf(source), target);
    if (source.kind !== "volume") throw new AppError("bad_request", `An image can be made of a volume or a server, not of ${source.kind === "blank" ? "nothing" : `a ${source.kind}`}.`);
    const volume = await this.#parts.volumes.find(this.#context.db, caller, idOf(source));
    const { diskFormat = "raw", containerFormat = "bare" } = target;
    const [plan] = await planUpload(this.#context, this.#parts.materialise, volume, imageFormOf(this.#context.config, { diskFormat, containerFormat }));
    if (!plan) throw new AppError("conflict", `Volume ${volume.id} cannot be captured while its server runs.`);
    return plan;
  }

  async #planServerImage(caller: Caller, id: string, target: PlanRequest["target"]): Promise<Plan> {
    const given = (["diskFormat", "containerFormat"] as const).find((option) => target[option] !== undefined);
    if (given) throw new AppError("bad_request", `Images of servers have the form that servers.snapshotImageFormat says: leave ${given} out.`);
    return this.#parts.captures.plan(caller, id);
  }
}

function idOf(source: PlanRequest["source"]): string {
  if (source.id === undefined) throw new AppError("bad_request", `Say which ${source.kind}: source.id is missing.`);
  return source.id;
}
