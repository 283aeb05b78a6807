import type { ErrorCode } from "./errors.ts";

/** Why something that was done to a server failed, as its record keeps it. */
export interface ServerFault {
  /** As an HTTP status: 400 where its user ended it, else 500. */
  readonly code: 400 | 500;
  /** For its user: without paths, commands and addresses of the host. */
  readonly message: string;
  /** For administrators: all that was said. */
  readonly details: string;
  readonly createdMs: number;
}

interface Failed {
  readonly code?: string | undefined;
  readonly message: string;
}

/**
 * What a failure is for a server's user. Refusals in our own words are told as they are; what tools, storage and libvirt say names
 * files and sockets of the host, so that only its kind is told, with the request under which administrators find the rest.
 */
export function serverFault({ code, message }: Failed, { requestId, nowMs }: { requestId: string; nowMs: number }): ServerFault {
  const words = code === undefined ? INTERNAL : WORDS[code as ErrorCode];
  const told = words === undefined ? message : `${words} An administrator finds more under the request ${requestId}.`;
  return { code: code === "cancelled" ? 400 : 500, message: told, details: message, createdMs: nowMs };
}

const INTERNAL = "It failed unexpectedly on its host.";
/** The failures whose messages quote the host. */
const WORDS: Readonly<Partial<Record<ErrorCode, string>>> = {
  tool_failed: "A program that works on it failed on its host.",
  tool_timed_out: "A program that works on it took too long on its host.",
  disk_not_found: "A disk that it needs is not in the storage.",
  pool_full: "The storage has no room for its disks.",
  pool_forbidden: "The storage of its disks refused the service.",
  pool_unavailable: "The storage of its disks does not answer.",
  clone_limit: "The storage takes no more clones of its disk.",
  config_invalid: "The service is not set up for it.",
  hypervisor_unavailable: "The hypervisor of its host does not answer.",
  internal: INTERNAL,
};
