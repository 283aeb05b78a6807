import { AppError } from "#/domain/errors.ts";
import { earlyRefusal, refusal, StreamInspector } from "#/format/inspect.ts";
import { KiB } from "#/lib/units.ts";
import type { StorageDriver, StoredRef, WorkOptions } from "#/storage/driver.ts";

export interface Inspected {
  readonly sizeBytes: number;
  /** What a guest sees. */
  readonly virtualSizeBytes: number;
  /** How much of it had to be read. */
  readonly bytesRead: number;
}

/** As much as one request reads at once: what is wanted lies together. */
const STEP_BYTES = 256 * KiB;
/** Requests for one image: the tables of every format come in few pieces, so that more of them is an attack. */
const STEPS_MAX = 500;

/**
 * Looks into bytes that came into a pool without passing here: the same inspection as an upload gets, of the parts that
 * matter, wherever they lie. Errors: the refusals of format/inspect.ts, `disk_not_found`; those of the pool.
 */
export async function inspectStored(pool: StorageDriver, disk: StoredRef, { diskFormat, signal }: Pick<WorkOptions, "signal"> & { readonly diskFormat: string }): Promise<Inspected> {
  const stored = await pool.stat(disk.id, disk.location);
  if (!stored) throw new AppError("disk_not_found", "There is nothing at this location.");
  const { sizeBytes } = stored;
  const inspector = new StreamInspector();
  let bytesRead = 0;
  for (let steps = 0, at = 0; at < sizeBytes; steps++) {
    if (steps >= STEPS_MAX) throw new AppError("image_unsafe", `Cannot take the image as ${diskFormat}: its tables are scattered over more than ${STEPS_MAX} places.`);
    const end = Math.min(sizeBytes, at + STEP_BYTES);
    inspector.skipTo(at);
    for await (const block of pool.read(disk, { start: at, end }, { signal })) inspector.update(block);
    bytesRead += end - at;
    const refused = earlyRefusal(inspector, diskFormat);
    if (refused) throw refused;
    at = inspector.wantedFrom(sizeBytes);
  }
  const inspection = inspector.finish();
  const refused = refusal(inspection, diskFormat);
  if (refused) throw refused;
  return { sizeBytes, virtualSizeBytes: inspection.virtualSizeBytes, bytesRead };
}
