import { cleanCache } from "./clean-cache.ts";
import { createSnapshot } from "./create-snapshot.ts";
import { createVolume } from "./create-volume.ts";
import { dedupPool } from "./dedup-pool.ts";
import { deleteImage } from "./delete-image.ts";
import { deleteSnapshot } from "./delete-snapshot.ts";
import { deleteVolume } from "./delete-volume.ts";
import { emptyCache } from "./empty-cache.ts";
import { extendVolume } from "./extend-volume.ts";
import { fillCache } from "./fill-cache.ts";
import { flattenDisk } from "./flatten-disk.ts";
import { hashImage } from "./hash-image.ts";
import { registerLocation } from "./register-location.ts";
import type { AnySaga } from "./runner.ts";
import { uploadImage } from "./upload-image.ts";
import { uploadVolume } from "./upload-volume.ts";

/** All sagas: the runner finds by name what a journal says. */
export const SAGAS: readonly AnySaga[] = [
  cleanCache,
  createSnapshot,
  createVolume,
  dedupPool,
  deleteImage,
  deleteSnapshot,
  deleteVolume,
  emptyCache,
  extendVolume,
  fillCache,
  flattenDisk,
  hashImage,
  registerLocation,
  uploadImage,
  uploadVolume,
];
