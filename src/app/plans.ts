import type { Materialise } from "#/app/materialise.ts";
import type { VolumeCreation } from "#/app/volume-creation.ts";
import type { Volumes } from "#/app/volumes.ts";
import { type Caller, requireRole } from "#/domain/caller.ts";
import type { DiskFormat } from "#/domain/disk.ts";
import { AppError } from "#/domain/errors.ts";
import type { Plan } from "#/planner/plan.ts";

export interface PlanRequest {
  readonly source: { readonly kind: "blank" | "image" | "volume" | "snapshot"; readonly id?: string };
  readonly target: { readonly kind: "volume" | "image"; readonly sizeGib?: number; readonly volumeType?: string; readonly diskFormat?: DiskFormat };
}

/** Dry runs: what would be done, which way and why, under the same rules as the real call, and nothing is done. */
export class Plans {
  readonly #materialise: Materialise;
  readonly #volumes: Volumes;
  readonly #creation: VolumeCreation;

  constructor({ materialise, volumes, creation }: { materialise: Materialise; volumes: Volumes; creation: VolumeCreation }) {
    this.#materialise = materialise;
    this.#volumes = volumes;
    this.#creation = creation;
  }

  async plan(caller: Caller, request: PlanRequest): Promise<Plan> {
    requireRole(caller, "reader", "plan");
    return request.target.kind === "volume" ? this.#planVolume(caller, request) : this.#planImage(caller, request);
  }

  async #planVolume(caller: Caller, { source, target }: PlanRequest): Promise<Plan> {
    if (target.diskFormat !== undefined) throw new AppError("bad_request", "A volume has no diskFormat: leave it out, or make the target an image.");
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
    return this.#materialise.planImage({ volumeId: volume.id, diskFormat: target.diskFormat ?? "raw" });
  }
}

function idOf(source: PlanRequest["source"]): string {
  if (source.id === undefined) throw new AppError("bad_request", `Say which ${source.kind}: source.id is missing.`);
  return source.id;
}
