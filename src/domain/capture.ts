/**
 * How much sense a captured disk makes by itself. `application`: the guest had shut down, so that its programs had ended too. `filesystem`: its file
 * systems were frozen by its agent, and need no repair. `crash`: as after a loss of power; journals set it right.
 */
export type ConsistencyLevel = "application" | "filesystem" | "crash";

/** Properties of an image of a server that say how it came about. */
export const CAPTURE_PROPERTIES = {
  method: "mica_capture_method",
  level: "mica_consistency",
  freezeMs: "mica_freeze_ms",
  downtimeMs: "mica_downtime_ms",
  atMs: "mica_captured_at",
} as const;
