import { join } from "node:path";
import type { SagaLimits } from "#/saga/context.ts";
import { SECOND_MS } from "#/lib/units.ts";

/** What sagas may take, with all of it in the folder: staging, and what hosts keep of servers. */
export function sagaLimits(dir: string, { stagingBytesMax }: { stagingBytesMax: number }): SagaLimits {
  return {
    staging: { dir, sizeBytesMax: stagingBytesMax },
    servers: { dir: join(dir, "servers"), network: "user", volumeWaitMsMax: 60 * SECOND_MS, keepVolumesOfFailed: false, preallocateImages: "none", resizeFsUsingBlockDevice: false, maxConcurrentSnapshots: 5, freezeMsMax: 10 * SECOND_MS, mirrorStallMsMax: 10 * SECOND_MS },
    hypervisor: { shutdownGraceMs: 100 },
  };
}
