import { join } from "node:path";
import { GiB, MiB } from "#/lib/units.ts";
import type { MicaProcess } from "../test/support/mica-process.ts";
import type { Bed, Measurement } from "./bed.ts";
import { makeQcow2, qemuImg } from "./disk.ts";
import { atMost, type Figure, median, summary, timed } from "./figure.ts";
import { addQcow2Image, queueImage, uploadImage } from "./images.ts";
import { onFiles, onRbd, type OpenStorage } from "./storage.ts";
import { randomBlocks } from "./streams.ts";
import { createVolume, operationOf } from "./volumes.ts";

/** On files, and on RBD, where each call of Ceph's command line takes 0.1 s. */
const CLONE_MAX_MS = { files: 150, rbd: 400 };

interface Case {
  readonly figure: string;
  readonly imageId: string;
  readonly sizeGib: number;
  readonly samples: number[];
  readonly answers: number[];
}

const ABOUT = "from the call to create a volume from an image until the volume is available, by clone";

export const clone: Measurement = { about: ABOUT, measure: (bed) => measureClones(bed, onFiles, CLONE_MAX_MS.files) };
export const rbdClone: Measurement = { about: `${ABOUT}, on Ceph RBD`, measure: (bed) => measureClones(bed, onRbd, CLONE_MAX_MS.rbd) };

/** Volumes by clone, one at a time, of images of several sizes by turns. */
async function measureClones(bed: Bed, openStorage: OpenStorage, limitMs: number): Promise<Figure[]> {
  const { mica } = await openStorage(bed, "clone");
  const cases = await prepare(bed, mica);
  const alone: number[] = [];
  for (let round = 0; round < (bed.isSmall ? 5 : 30); round++) {
    alone.push(
      await timed(() => qemuImg("create", "-q", "-f", "qcow2", "-u", "-b", "parent", "-F", "raw", join(bed.folder, "overlay"), "1G")),
    );
    for (const one of cases) await sample(mica, one);
  }
  const smallest = median(cases[0]?.samples ?? []);
  const overlay: Figure = {
    figure: "qemu-img create of an overlay alone",
    unit: "ms",
    ...summary(alone),
    ratio: median(alone) / smallest,
    against: "1 GiB",
  };
  return [overlay, ...cases.map((one) => figureOf(one, smallest, limitMs))];
}

async function prepare(bed: Bed, mica: MicaProcess): Promise<Case[]> {
  const dataBytes = bed.sized(128 * MiB);
  const shapes = [1, 100].map((sizeGib) => ({ sizeGib, virtualSizeBytes: sizeGib * GiB }));
  const cases: Case[] = [];
  for (const { sizeGib, virtualSizeBytes } of shapes) {
    const path = await makeQcow2(bed.folder, `${sizeGib}`, { virtualSizeBytes, dataBytes });
    cases.push({
      figure: `qcow2 image of ${sizeGib} GiB, cached`,
      imageId: await addQcow2Image(mica, path),
      sizeGib,
      samples: [],
      answers: [],
    });
  }
  const raw = await queueImage(mica, "raw");
  await uploadImage(mica, raw, randomBlocks(bed.sized(GiB)));
  cases.push({ figure: "raw image of 1 GiB, full of data", imageId: raw, sizeGib: 1, samples: [], answers: [] });
  for (const { imageId, sizeGib } of cases) await createVolume(mica, imageId, sizeGib); // Fills the cache.
  return cases;
}

async function sample(mica: MicaProcess, { imageId, sizeGib, samples, answers }: Case): Promise<void> {
  const { id, answeredMs, availableMs } = await createVolume(mica, imageId, sizeGib);
  const { strategy } = (await operationOf(mica, id)).actual;
  if (strategy !== "clone" && strategy !== "clone_cached") throw new Error(`It was made by ${strategy}.`);
  samples.push(availableMs);
  answers.push(answeredMs);
}

function figureOf({ figure, samples, answers }: Case, smallest: number, limitMs: number): Figure {
  return {
    figure,
    unit: "ms",
    ...summary(samples),
    ratio: median(samples) / smallest,
    against: "1 GiB",
    limit: atMost(median(samples), limitMs, "ms"),
    note: `the call itself answers after ${median(answers).toFixed(1)} ms`,
  };
}
