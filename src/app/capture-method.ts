import type { BlockDeviceTable } from "#/db/server-tables.ts";
import { AppError } from "#/domain/errors.ts";
import type { CaptureFacts } from "#/planner/capture.ts";
import type { Plan } from "#/planner/plan.ts";

/** `conflict` where there is no way to capture the disk: any guest can be stopped and read, so it is the operator's choice that is not possible, or not gentle enough. */
export function refuseWithoutWay(ways: readonly Plan[], { target }: Pick<BlockDeviceTable, "target">, { only, requiresQuiesce }: Pick<CaptureFacts, "only" | "requiresQuiesce">): void {
  if (ways.length > 0) return;
  const cannot = only === "cold" && requiresQuiesce ? "does not freeze file systems, which the image's os_require_quiesce asks for" : "is not possible in its pool";
  throw new AppError("conflict", `Disk ${target} cannot be captured: servers.captureMethod allows only ${only}, which ${cannot}.`);
}
