import { join } from "node:path";
import { GiB, MiB } from "#/lib/units.ts";
import type { Measurement } from "./bed.ts";
import { allocatedBytes, makeQcow2, qemuImg } from "./disk.ts";
import { atMost, timed } from "./figure.ts";
import { addQcow2Image } from "./images.ts";
import { createVolume } from "./volumes.ts";

const VOLUMES = 20;
/** Of one raw copy: the rest is headers of overlays. */
const SPACE_RATIO_MAX = 1.1;

/** Many first volumes of one image at the same time: it is converted once, and the rest are clones. */
export const atOnce: Measurement = {
  about: `${VOLUMES} volumes at once from a qcow2 image that was never used`,
  async measure(bed) {
    const mica = await bed.mica("at-once");
    const path = await makeQcow2(bed.folder, "source", { virtualSizeBytes: 2 * GiB, dataBytes: bed.sized(512 * MiB) });
    const copy = join(bed.folder, "copy.raw");
    const aloneMs = await timed(() => qemuImg("convert", "-f", "qcow2", "-O", "raw", "-t", "none", "-T", "none", "-W", path, copy));
    const [imageId, copyBytes] = [await addQcow2Image(mica, path), await allocatedBytes(copy)];
    const pool = join(mica.dataDir, "pools/local");
    const beforeBytes = await allocatedBytes(pool);
    const ms = await timed(() => Promise.all(Array.from({ length: VOLUMES }, () => createVolume(mica, imageId, 2))));
    const addedBytes = (await allocatedBytes(pool)) - beforeBytes;
    const { operations } = await mica.json("GET", "/mica/v1/operations?limit=1000");
    const conversions = operations.filter(({ kind }: { kind: string }) => kind === "fill-cache").length;
    return [
      { figure: "all available", unit: "ms", median: ms, ratio: ms / aloneMs, against: "one conversion alone" },
      { figure: "space", unit: "MiB", median: addedBytes / MiB, ratio: addedBytes / copyBytes, against: "one raw copy", limit: atMost(addedBytes / copyBytes, SPACE_RATIO_MAX, "×") },
      { figure: "bytes per volume beyond one copy", unit: "bytes", median: Math.round((addedBytes - copyBytes) / VOLUMES), limit: { says: "1 conversion", met: conversions === 1 }, note: `conversions: ${conversions}` },
    ];
  },
};
