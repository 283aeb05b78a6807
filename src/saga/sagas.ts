import { attachVolume } from "./attach-volume.ts";
import { captureServer } from "./capture-server.ts";
import { cleanCache } from "./clean-cache.ts";
import { createServer } from "./create-server.ts";
import { createSnapshot } from "./create-snapshot.ts";
import { createVolume } from "./create-volume.ts";
import { dedupPool } from "./dedup-pool.ts";
import { deleteImage } from "./delete-image.ts";
import { deleteServer } from "./delete-server.ts";
import { deleteSnapshot } from "./delete-snapshot.ts";
import { deleteVolume } from "./delete-volume.ts";
import { detachVolume } from "./detach-volume.ts";
import { dropDisk } from "./drop-disk.ts";
import { emptyCache } from "./empty-cache.ts";
import { extendVolume } from "./extend-volume.ts";
import { fillCache } from "./fill-cache.ts";
import { flattenDisk } from "./flatten-disk.ts";
import { hashImage } from "./hash-image.ts";
import { offloadServer } from "./offload-server.ts";
import { powerServer } from "./power-server.ts";
import { precacheImage } from "./precache-image.ts";
import { rebuildServer } from "./rebuild-server.ts";
import { registerLocation } from "./register-location.ts";
import { rescueServer } from "./rescue-server.ts";
import { resizeServer } from "./resize-server.ts";
import type { AnySaga } from "./runner.ts";
import { shelveServer } from "./shelve-server.ts";
import { swapVolume } from "./swap-volume.ts";
import { thawServer } from "./thaw-server.ts";
import { unrescueServer } from "./unrescue-server.ts";
import { unshelveServer } from "./unshelve-server.ts";
import { uploadImage } from "./upload-image.ts";
import { uploadVolume } from "./upload-volume.ts";

/** All sagas: the runner finds by name what a journal says. */
export const SAGAS: readonly AnySaga[] = [
  attachVolume,
  captureServer,
  cleanCache,
  createServer,
  createSnapshot,
  createVolume,
  dedupPool,
  deleteImage,
  deleteServer,
  deleteSnapshot,
  deleteVolume,
  detachVolume,
  dropDisk,
  emptyCache,
  extendVolume,
  fillCache,
  flattenDisk,
  hashImage,
  offloadServer,
  powerServer,
  precacheImage,
  rebuildServer,
  registerLocation,
  rescueServer,
  resizeServer,
  shelveServer,
  swapVolume,
  thawServer,
  unrescueServer,
  unshelveServer,
  uploadImage,
  uploadVolume,
];
