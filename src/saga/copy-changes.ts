import type { Disk } from "#/domain/disk.ts";
import type { DiskId } from "#/domain/ids.ts";
import type { Actual, SagaServices } from "#/saga/context.ts";
import type { ByteRange, NewDisk, WorkOptions } from "#/storage/driver.ts";
import type { Pool } from "#/storage/pool.ts";
import { copyChanges } from "#/transfer/copy-changes.ts";
import { openSource, type Source } from "#/transfer/source.ts";

interface ChangesWork extends WorkOptions {
  readonly pool: Pool;
  /** The disk of the image before. */
  readonly base: Disk;
  /** What the new disk is to hold, and where it may differ from the base. */
  readonly source: Source;
  readonly changes: readonly ByteRange[];
}

/**
 * Makes the target a clone of the base into which what changed is written. It is written under its own name, which nobody looks at while its record is being filled: what an earlier attempt
 * left there goes first. Returns what it reads through, and what was moved.
 */
export async function makeByChanges({ locks }: Pick<SagaServices, "locks">, target: NewDisk, work: ChangesWork): Promise<{ readonly parent: DiskId | undefined; readonly moved: Actual }> {
  const { pool, base, source, changes, ...options } = work;
  await using _ = await locks.take(target.id);
  await pool.delete(target.id, options);
  const { target: parent } = await pool.clone(base, { ...target, frozen: false }, options);
  const totalBytes = sizeOf(changes);
  const { bytesRead, bytesWritten } = await copyChanges({
    source: await openSource(source),
    target: await pool.open({ ...target, parent }, "write"),
    changes,
    signal: options.signal,
    onProgress: (doneBytes) => options.onProgress?.(doneBytes / totalBytes),
    bytesPerSecondMax: pool.limits.bandwidthBytesPerSecondMax || undefined,
  });
  await pool.clone(base, target, options); // It is there: now that it is whole, the pool may make it ready for clones.
  return { parent, moved: { bytesRead, bytesWritten, bytesThroughUs: bytesRead, bytesTemporary: 0 } };
}

export function sizeOf(ranges: readonly ByteRange[]): number {
  return ranges.reduce((sum, { start, end }) => sum + end - start, 0);
}
