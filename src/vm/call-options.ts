/** What every call to a hypervisor may be given. */
export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
  /** Instead of the configured limit for the kind of call. */
  readonly timeoutMs?: number | undefined;
}

export interface CopyOptions extends CallOptions {
  /** From 0 to 1. */
  readonly onProgress?: ((fraction: number) => void) | undefined;
  readonly bytesPerSecondMax?: number | undefined;
}
