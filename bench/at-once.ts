import { join } from "node:path";
import { GiB, MiB } from "#/lib/units.ts";
import type { Bed, Measurement } from "./bed.ts";
import { allocatedBytes, makeQcow2, qemuImg } from "./disk.ts";
import { atMost, type Figure, timed } from "./figure.ts";
import { addQcow2Image } from "./images.ts";
import { onFiles, onRbd, type OpenStorage } from "./storage.ts";
import { createVolume } from "./volumes.ts";

const VOLUMES = 20;
/** Of one raw copy: the rest is headers of overlays. */
const SPACE_RATIO_MAX = 1.1;

const ABOUT = `${VOLUMES} volumes at once from a qcow2 image that was never used`;

export const atOnce: Measurement = { about: ABOUT, measure: (bed) => measureAtOnce(bed, onFiles) };
export const rbdAtOnce: Measurement = { about: `${ABOUT}, on Ceph RBD`, measure: (bed) => measureAtOnce(bed, onRbd) };

/** Many first volumes of one image at the same time: it is converted once, and the rest are clones. */
async function measureAtOnce(bed: Bed, openStorage: OpenStorage): Promise<Figure[]> {
  const storage = await openStorage(bed, "at-once");
  const { mica } = storage;
  const path = await makeQcow2(bed.folder, "source", { virtualSizeBytes: 2 * GiB, dataBytes: bed.sized(512 * MiB) });
  const copy = join(bed.folder, "copy.raw");
  await qemuImg("convert", "-f", "qcow2", "-O", "raw", path, copy);
  const aloneMs = await storage.convertAlone(path, ["-t", "none", "-T", "none", "-W"], 2 * GiB);
  const imageId = await addQcow2Image(mica, path);
  const [copyBytes, beforeBytes] = [await allocatedBytes(copy), await storage.usedBytes()];
  const ms = await timed(() => Promise.all(Array.from({ length: VOLUMES }, () => createVolume(mica, imageId, 2))));
  const addedBytes = (await storage.usedBytes()) - beforeBytes;
  const { operations } = await mica.json("GET", "/mica/v1/operations?limit=1000");
  const conversions = operations.filter(({ kind }: { kind: string }) => kind === "fill-cache").length;
  return [
    { figure: "all available", unit: "ms", median: ms, ratio: ms / aloneMs, against: "one conversion alone" },
    {
      figure: "space",
      unit: "MiB",
      median: addedBytes / MiB,
      ratio: addedBytes / copyBytes,
      against: "one raw copy",
      limit: atMost(addedBytes / copyBytes, SPACE_RATIO_MAX, "×"),
    },
    {
      figure: "bytes per volume beyond one copy",
      unit: "bytes",
      median: Math.round((addedBytes - copyBytes) / VOLUMES),
      limit: { says: "1 conversion", met: conversions === 1 },
      note: `conversions: ${conversions}`,
    },
  ];
}
