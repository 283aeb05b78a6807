import { GiB, MiB } from "#/lib/units.ts";
import type { MicaProcess } from "../test/support/mica-process.ts";
import type { Measurement } from "./bed.ts";
import { atMost, type Figure } from "./figure.ts";
import { deleteImage, downloadImage, queueImage, uploadImage } from "./images.ts";
import { memoryOf, resetPeak } from "./process-facts.ts";
import { randomBlocks } from "./streams.ts";

/** What garbage may differ by from one run to the next; a disk in memory would be hundreds. */
const GROWTH_MAX_MIB = 32;

/** The server's peak of memory while images of two sizes go in and out. */
export const memory: Measurement = {
  about: "memory of the server while images of two sizes go in and come out",
  async measure(bed) {
    const mica = await bed.mica("memory");
    await passThrough(mica, bed.sized(256 * MiB)); // Until its threads and buffers are there.
    const small = await passThrough(mica, bed.sized(256 * MiB));
    const large = await passThrough(mica, bed.sized(2 * GiB));
    return [figure("upload", small.uploadMib, large.uploadMib), figure("download", small.downloadMib, large.downloadMib)];
  },
};

function figure(what: string, smallMib: number, largeMib: number): Figure {
  return {
    figure: `peak during ${what}, image eight times as large`,
    unit: "MiB",
    median: largeMib,
    ratio: largeMib / smallMib,
    against: "the smaller image",
    limit: atMost(Math.round(largeMib - smallMib), GROWTH_MAX_MIB, "MiB more"),
    note: `${Math.round(largeMib - smallMib)} MiB more`,
  };
}

async function passThrough(mica: MicaProcess, sizeBytes: number): Promise<{ uploadMib: number; downloadMib: number }> {
  const id = await queueImage(mica, "raw");
  const uploadMib = await peakDuring(mica, () => uploadImage(mica, id, randomBlocks(sizeBytes)));
  const downloadMib = await peakDuring(mica, () => downloadImage(mica, id));
  await deleteImage(mica, id);
  return { uploadMib, downloadMib };
}

async function peakDuring(mica: MicaProcess, work: () => Promise<unknown>): Promise<number> {
  await resetPeak(mica.pid);
  await work();
  return (await memoryOf(mica.pid)).peakMib;
}
