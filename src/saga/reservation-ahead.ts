import { growReservation } from "#/db/disks.ts";
import { asAppError } from "#/domain/errors.ts";
import type { DiskId, PoolName } from "#/domain/ids.ts";
import { MiB } from "#/lib/units.ts";
import type { SagaServices } from "#/saga/context.ts";
import { reserveSpace } from "#/saga/reserve-space.ts";

/** The first promise to a stream of unknown length; each later one is twice as much, so that small ones ask rarely and fit anywhere. */
const FIRST_BYTES = MiB;
/** The largest promise, and how many written bytes may still count as promised beside their space being taken. */
const WINDOW_BYTES_MAX = 256 * MiB;

/** What to reserve for a stream before its first byte. */
export function firstReservation(sizeBytes: number | null): number {
  return sizeBytes ?? FIRST_BYTES;
}

/**
 * Keeps what is promised to the stream ahead of its bytes, and gives back what it has written: those bytes are missing from the
 * pool's free space already, and must not count twice against others.
 */
export class ReservationAhead {
  readonly #services: Pick<SagaServices, "db" | "pools">;
  readonly #disk: { readonly id: DiskId; readonly pool: PoolName };
  #admittedBytes: number;
  #settledBytes = 0;
  #nextBytes = 2 * FIRST_BYTES;

  /** `sizeBytes` as given to `firstReservation`, whose answer is reserved. */
  constructor(
    services: Pick<SagaServices, "db" | "pools">,
    disk: { readonly id: DiskId; readonly pool: PoolName },
    sizeBytes: number | null,
  ) {
    this.#services = services;
    this.#disk = disk;
    this.#admittedBytes = firstReservation(sizeBytes);
  }

  /** Call it with the stream's length so far, and how much of that is not written yet. `pool_full` where it does not fit. */
  async reach(totalBytes: number, unwrittenBytes: number): Promise<void> {
    const isShort = totalBytes > this.#admittedBytes;
    if (isShort || totalBytes - this.#settledBytes >= WINDOW_BYTES_MAX) await this.#settle(totalBytes - unwrittenBytes);
    if (isShort) await this.#grow(totalBytes);
  }

  async #settle(writtenBytes: number): Promise<void> {
    const settled = Math.min(writtenBytes, this.#admittedBytes) - this.#settledBytes;
    if (settled <= 0) return;
    await this.#services.db.transaction().execute((trx) => growReservation(trx, this.#disk.id, -settled));
    this.#settledBytes += settled;
  }

  /** Where the next promise does not fit any more, a smaller one may: the stream may be about to end. */
  async #grow(totalBytes: number): Promise<void> {
    const neededBytes = totalBytes - this.#admittedBytes;
    let bytes = Math.max(this.#nextBytes, neededBytes);
    while (!(await this.#promise(bytes, bytes === neededBytes))) bytes = Math.max(neededBytes, Math.floor(bytes / 2));
    this.#admittedBytes += bytes;
    this.#nextBytes = Math.min(2 * bytes, WINDOW_BYTES_MAX);
  }

  /** False where there is not so much space; throws that where it `mustFit`. */
  async #promise(bytes: number, mustFit: boolean): Promise<boolean> {
    try {
      await reserveSpace(this.#services, this.#disk, bytes, (trx) => growReservation(trx, this.#disk.id, bytes));
      return true;
    } catch (error) {
      if (mustFit || asAppError(error)?.code !== "pool_full") throw error;
      return false;
    }
  }
}
