import type { AppContext } from "#/app/context.ts";
import type { Materialise } from "#/app/materialise.ts";
import type { Quotas } from "#/app/quotas.ts";
import type { VolumeTypes } from "#/app/volume-types.ts";
import type { Volumes } from "#/app/volumes.ts";
import type { Database } from "#/db/database.ts";
import { addQuotaUsage } from "#/db/quota-usage.ts";
import { snapshotsOfVolume } from "#/db/snapshots.ts";
import type { VolumeTable, VolumeTypeTable } from "#/db/tables.ts";
import { findVolumeType } from "#/db/volume-types.ts";
import { changeVolumeIn } from "#/db/volumes.ts";
import { type Caller, requireRole } from "#/domain/caller.ts";
import { giveBack, typeQuota } from "#/domain/quota.ts";
import { invalidInput, invalidVolume, orList, VOLUME_TRANSITIONS } from "#/domain/volume.ts";
import { volumeTypeNotFound } from "#/domain/volume-type.ts";

interface VolumeRetypingParts {
  readonly volumes: Volumes;
  readonly volumeTypes: VolumeTypes;
  readonly quotas: Quotas;
  readonly materialise: Pick<Materialise, "whyNotType">;
}

/** Gives volumes another type, where they are: bytes don't move. */
export class VolumeRetyping {
  readonly #context: AppContext;
  readonly #parts: VolumeRetypingParts;

  constructor(context: AppContext, parts: VolumeRetypingParts) {
    this.#context = context;
    this.#parts = parts;
  }

  /**
   * `newType`: id or name. 400 where the volume's status does not allow it, it has the type already, or the type needs another
   * pool; 413 where the quota of the type is used up.
   */
  async retype(caller: Caller, id: string, newType: string): Promise<void> {
    requireRole(caller, "member", "change the type of volumes");
    const { volumes, volumeTypes } = this.#parts;
    const { db, clock } = this.#context;
    const type = await volumeTypes.resolve(caller, newType);
    const specs = await volumeTypes.extraSpecsOf(type.id);
    const { pool } = await volumes.find(db, caller, id);
    const because = await this.#parts.materialise.whyNotType(pool, specs);
    await db.transaction().execute(async (trx) => {
      const volume = await volumes.find(trx, caller, id);
      refuseTypeOf(volume, type, because);
      if (!(await findVolumeType(trx, type.id))) throw volumeTypeNotFound(type.id);
      const { from } = VOLUME_TRANSITIONS.retype;
      const changes = { volume_type_id: type.id, updated_at: clock.nowMs() };
      if (!(await changeVolumeIn(trx, id, { from, changes }))) {
        throw invalidVolume(`Volume ${id} status must be ${orList(from)} to retype, but the status is ${volume.status}.`);
      }
      await this.#moveQuota(trx, volume, type);
    });
  }

  async #moveQuota(trx: Database, volume: VolumeTable, type: VolumeTypeTable): Promise<void> {
    const before = await findVolumeType(trx, volume.volume_type_id);
    const snapshots = (await snapshotsOfVolume(trx, volume.id)).map((snapshot) => snapshot.size_bytes);
    await this.#parts.quotas.take(trx, volume.project_id, typeQuota(volume.size_bytes, snapshots, type.name));
    if (before) await addQuotaUsage(trx, volume.project_id, giveBack(typeQuota(volume.size_bytes, snapshots, before.name)));
  }
}

function refuseTypeOf(volume: VolumeTable, type: VolumeTypeTable, because: string | undefined): void {
  if (type.id === volume.volume_type_id) throw invalidInput(`Volume ${volume.id} has the type ${type.name} already.`);
  if (because === undefined) return;
  throw invalidInput(`Volume ${volume.id} is in pool ${volume.pool}, and the type ${type.name} needs another pool: ${because}.`);
}
