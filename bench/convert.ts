import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { GiB, MiB } from "#/lib/units.ts";
import type { MicaProcess } from "../test/support/mica-process.ts";
import type { Bed, Measurement } from "./bed.ts";
import { makeQcow2 } from "./disk.ts";
import { atMost, type Figure, median, pairedRatio, summary } from "./figure.ts";
import { addQcow2Image, deleteImage } from "./images.ts";
import { onFiles, onRbd, type OpenStorage } from "./storage.ts";
import { createVolume, deleteVolume, operationOf } from "./volumes.ts";

const RATIO_MAX = 1.25;
const SIZE_GIB = 4;
const OUR_FLAGS = ["-t", "none", "-T", "none", "-W"];

interface Samples {
  readonly mica: number[];
  readonly sameFlags: number[];
  readonly plain: number[];
  readonly temporaryBytes: number[];
}

const ABOUT = "first volume from a qcow2 image, against qemu-img convert alone on the same file";

export const convert: Measurement = { about: ABOUT, measure: (bed) => measureConversions(bed, onFiles) };
export const rbdConvert: Measurement = { about: `${ABOUT} into Ceph RBD`, measure: (bed) => measureConversions(bed, onRbd) };

/** The first volume of a qcow2 image, which is converted once into the cache, beside `qemu-img convert` alone. */
async function measureConversions(bed: Bed, openStorage: OpenStorage): Promise<Figure[]> {
  const storage = await openStorage(bed, "convert");
  const path = await makeQcow2(bed.folder, "source", { virtualSizeBytes: SIZE_GIB * GiB, dataBytes: bed.sized(512 * MiB) });
  const samples: Samples = { mica: [], sameFlags: [], plain: [], temporaryBytes: [] };
  for (let round = 0; round < (bed.isSmall ? 2 : 3); round++) {
    samples.sameFlags.push(await storage.convertAlone(path, OUR_FLAGS, SIZE_GIB * GiB));
    samples.mica.push(await firstVolume(storage.mica, path, samples.temporaryBytes));
    samples.plain.push(await storage.convertAlone(path, [], SIZE_GIB * GiB));
  }
  return figuresOf(samples);
}

async function firstVolume(mica: MicaProcess, path: string, temporaryBytes: number[]): Promise<number> {
  const imageId = await addQcow2Image(mica, path);
  await using staging = watchStaging(mica);
  const { id, availableMs } = await createVolume(mica, imageId, SIZE_GIB);
  const { actual } = await operationOf(mica, id);
  temporaryBytes.push((actual.bytesTemporary ?? Number.NaN) + staging.filesMax);
  await deleteVolume(mica, id);
  await deleteImage(mica, imageId);
  return availableMs;
}

/** How many staging files were there at once, looked at every few milliseconds. */
function watchStaging(mica: MicaProcess): AsyncDisposable & { readonly filesMax: number } {
  const ended = new AbortController();
  const watch = { filesMax: 0, [Symbol.asyncDispose]: async () => ended.abort() };
  void (async () => {
    for (; !ended.signal.aborted; await sleep(10)) {
      const files = await readdir(join(mica.dataDir, "staging")).catch(() => []);
      watch.filesMax = Math.max(watch.filesMax, files.length);
    }
  })();
  return watch;
}

function figuresOf({ mica, sameFlags, plain, temporaryBytes }: Samples): Figure[] {
  const [same, defaults] = [pairedRatio(mica, sameFlags), pairedRatio(mica, plain)];
  return [
    { figure: "qemu-img convert alone, defaults", unit: "ms", ...summary(plain) },
    { figure: `qemu-img convert alone, ${OUR_FLAGS.join(" ")}`, unit: "ms", ...summary(sameFlags) },
    {
      figure: "first volume",
      unit: "ms",
      ...summary(mica),
      ratio: same,
      against: "alone, same flags",
      limit: atMost(same, RATIO_MAX, "×"),
    },
    {
      figure: "first volume",
      unit: "ms",
      ...summary(mica),
      ratio: defaults,
      against: "alone, defaults",
      limit: atMost(defaults, RATIO_MAX, "×"),
    },
    {
      figure: "temporary bytes and files",
      unit: "bytes",
      median: median(temporaryBytes),
      limit: atMost(Math.max(...temporaryBytes), 0, "bytes"),
    },
  ];
}
