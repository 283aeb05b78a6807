import { AppError, type ErrorCode } from "#/domain/errors.ts";
import { escapeControls } from "#/tools/run.ts";
import { readDomain } from "#/vm/libvirt/protocol.ts";
import type { XdrReader } from "#/vm/libvirt/xdr.ts";

/** An error in libvirt's own words: virError of libvirt/virterror.h. */
export class LibvirtError extends Error {
  override readonly name = "LibvirtError";
  /** virErrorNumber. */
  readonly number: number;

  constructor(number: number, message: string) {
    super(escapeControls(message));
    this.number = number;
  }
}

/** Numbers of errors that somebody looks for (virErrorNumber). */
export const ERROR = {
  operationFailed: 9,
  noDomain: 42,
  operationInvalid: 55,
  deviceMissing: 99,
  noDomainBackup: 104,
} as const;

/** remote_error of remote_protocol.x. */
export function readError(reader: XdrReader): LibvirtError {
  const number = reader.int();
  reader.int(); // Which part of libvirt it comes from.
  const message = reader.optionalString() ?? "an error without a message";
  reader.int(); // How bad it is.
  if (reader.int() !== 0) readDomain(reader);
  return new LibvirtError(number, message);
}

/** The error as the caller of a driver knows it: `Cannot start guest …: …`. */
export function asVmError(error: unknown, doing: string): unknown {
  if (error instanceof AppError) {
    const code = error.code === "tool_timed_out" ? "hypervisor_unavailable" : error.code;
    return new AppError(code, `Cannot ${doing}: ${error.message}`, { cause: error });
  }
  if (!(error instanceof LibvirtError)) return error;
  return new AppError(codeOf(error), `Cannot ${doing}: ${error.message}`, { cause: error });
}

export function isLibvirtError(error: unknown, ...numbers: readonly number[]): boolean {
  return error instanceof LibvirtError && numbers.includes(error.number);
}

function codeOf({ number, message }: LibvirtError): ErrorCode {
  // Another QEMU has the disk open: QEMU says so in words alone (util/osdep.c, block/file-posix.c).
  if (/Failed to get "?(write|shared "write"|consistent read)"? lock/.test(message)) return "conflict";
  // Views and copies keep a disk as it is. Libvirt says it with "not supported", QEMU without a code.
  if (/already in active block job|is in use|Node .* is busy/.test(message)) return "conflict";
  // Before libvirt 9.1 the agent's own refusals were internal errors.
  if (number === 1 && /QEMU agent command|guest agent/i.test(message)) return "agent_unavailable";
  return CODES[number] ?? "tool_failed";
}

const CODES: Readonly<Record<number, ErrorCode>> = {
  3: "not_supported", // NO_SUPPORT
  6: "hypervisor_unavailable", // INVALID_CONN
  28: "conflict", // DOM_EXIST
  29: "hypervisor_unavailable", // OPERATION_DENIED
  39: "hypervisor_unavailable", // RPC
  42: "not_found", // NO_DOMAIN
  45: "hypervisor_unavailable", // AUTH_FAILED
  55: "conflict", // OPERATION_INVALID
  67: "not_supported", // CONFIG_UNSUPPORTED
  68: "conflict", // OPERATION_TIMEOUT: another call about the same domain does not end
  74: "not_supported", // ARGUMENT_UNSUPPORTED
  79: "hypervisor_unavailable", // AUTH_CANCELLED
  83: "conflict", // BLOCK_COPY_ACTIVE
  84: "not_supported", // OPERATION_UNSUPPORTED
  86: "agent_unavailable", // AGENT_UNRESPONSIVE
  87: "conflict", // RESOURCE_BUSY
  88: "hypervisor_unavailable", // ACCESS_DENIED
  94: "hypervisor_unavailable", // AUTH_UNAVAILABLE
  97: "agent_unavailable", // AGENT_UNSYNCED
  99: "not_found", // DEVICE_MISSING
  103: "checkpoint_lost", // NO_DOMAIN_CHECKPOINT
  109: "checkpoint_lost", // CHECKPOINT_INCONSISTENT
  111: "agent_unavailable", // AGENT_COMMAND_TIMEOUT, since 9.1
  112: "agent_unavailable", // AGENT_COMMAND_FAILED, since 9.1
};
