/**
 * Every failure a caller can be told about. The table is the single source: the class below, the HTTP
 * status, the row in docs/errors.md and its test are all derived from it.
 *
 * `status` is the HTTP status where the APIs do not say otherwise; `retry` says whether the same request may
 * succeed later without a change; `fix` tells the reader of the message what to do.
 */
export const ERRORS = {
  bad_request: { status: 400, retry: false, fix: "Correct the request as the message says." },
  unauthorized: { status: 401, retry: false, fix: "Get a token (POST /identity/v3/auth/tokens) and send it as X-Auth-Token." },
  forbidden: { status: 403, retry: false, fix: "Use a token whose roles allow it, or ask an administrator." },
  not_found: { status: 404, retry: false, fix: "Check the id or name, and the project of the token." },
  config_invalid: { status: 500, retry: false, fix: "Correct what the message names; docs/configuration.md lists every option." },
  conflict: { status: 409, retry: false, fix: "Look at the present state of the record; wait or change it, then repeat." },
  method_not_allowed: { status: 405, retry: false, fix: "Use one of the methods that the Allow header names." },
  gone: { status: 410, retry: false, fix: "The record was deleted meanwhile: create it anew." },
  request_timeout: { status: 408, retry: true, fix: "Send the whole body that Content-Length promises, without long pauses." },
  too_many_requests: { status: 429, retry: true, fix: "Wait as long as the Retry-After header says, then repeat the request." },
  too_large: { status: 413, retry: false, fix: "Send less, or have the limit raised." },
  quota_exceeded: { status: 413, retry: false, fix: "Delete something of the project, or have its quota raised." },
  server_quota_exceeded: { status: 403, retry: false, fix: "Delete servers or key pairs of the project, or have its quota raised." },
  unsupported_media: { status: 415, retry: false, fix: "Send the media type or disk format that the message names." },
  range_not_satisfiable: { status: 416, retry: false, fix: "Ask for bytes inside the size of the image." },
  not_acceptable: { status: 406, retry: false, fix: "Ask for a microversion between the minimum and the maximum that GET of the version shows." },
  image_unsafe: { status: 415, retry: false, fix: "Convert the disk with qemu-img to a plain image without outside references, then upload it again." },
  image_format_mismatch: { status: 415, retry: false, fix: "Set disk_format to the format that the content has, then upload again." },
  image_store_full: { status: 413, retry: true, fix: "Delete images or volumes of the pool, or have it grown, then upload again." },
  upload_broken: { status: 400, retry: true, fix: "Upload again: the image is queued, and nothing of the broken upload was kept." },
  disk_not_found: { status: 500, retry: false, fix: "Run `mica audit`: a record points at bytes that are not in the pool." },
  agent_unavailable: { status: 409, retry: true, fix: "Start qemu-guest-agent in the guest, and set hw_qemu_guest_agent=yes on its image." },
  checkpoint_lost: { status: 409, retry: false, fix: "Take all of the disk: what changed since that instant is not known any more." },
  clone_limit: { status: 507, retry: true, fix: "Delete clones of the disk, or raise the storage's limit of snapshots and clones." },
  hypervisor_unavailable: { status: 503, retry: true, fix: "Start libvirtd, or set hypervisor.socketPath to where it listens; what runs goes on meanwhile." },
  pool_forbidden: { status: 500, retry: false, fix: "Give the pool's user at the storage the rights that the message names." },
  pool_full: { status: 507, retry: true, fix: "Delete volumes or images of the pool, or grow it." },
  pool_unavailable: { status: 503, retry: true, fix: "See `mica pools` for the reason; mount or repair the pool's location." },
  tool_failed: { status: 500, retry: false, fix: "Read the tool's own words in the message and the log." },
  timed_out: { status: 503, retry: true, fix: "See what it waits for (mica operations), or raise the limit that the message names." },
  tool_timed_out: { status: 500, retry: true, fix: "Raise the time limit of the tool, or find what makes the storage slow." },
  cancelled: { status: 409, retry: true, fix: "Repeat the request if it was cancelled by mistake." },
  interrupted: { status: 503, retry: true, fix: "Repeat the request: the process ended in the middle, and what it had begun was undone." },
  internal: { status: 500, retry: false, fix: "Look for the request id in the log of `mica serve`, and report what it says: this is a defect." },
  not_supported: { status: 501, retry: false, fix: "See docs/operating.md for what each pool can do." },
  unavailable: { status: 503, retry: true, fix: "Wait a moment, then repeat the request." },
} as const satisfies Record<string, { status: number; retry: boolean; fix: string }>;

export type ErrorCode = keyof typeof ERRORS;

/** A refusal, by us or by the world. `message` says what we were doing: "Cannot clone disk 7f…: pool \"fast\" is full". */
export class AppError extends Error {
  override readonly name = "AppError";
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }

  get status(): number {
    return ERRORS[this.code].status;
  }

  get retry(): boolean {
    return ERRORS[this.code].retry;
  }
}

/** The error as an AppError, or undefined where it is a defect of ours. */
export function asAppError(error: unknown): AppError | undefined {
  return error instanceof AppError ? error : undefined;
}
