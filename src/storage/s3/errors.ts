import { AppError, type ErrorCode } from "#/domain/errors.ts";

/** Runs requests, and turns what they throw into what a caller can be told. `bucket` goes into messages. */
export async function tellingErrors<Result>(bucket: string, work: () => Promise<Result>): Promise<Result> {
  try {
    return await work();
  } catch (error) {
    throw asStorageError(bucket, error);
  }
}

/** What an S3 service, the network or a cancellation throws, as an AppError with its meaning for a pool; all else as it is. */
export function asStorageError(bucket: string, error: unknown): unknown {
  if (error instanceof AppError || !(error instanceof Error)) return error;
  if (error.name === "AbortError") return new AppError("cancelled", "it was cancelled", { cause: error });
  const { code, words } = meaningOf(bucket, error);
  return new AppError(code, words, { cause: error });
}

/** Whether the service has answered with this error. */
export function isAnswer(error: unknown, name: "NotFound" | "NoSuchUpload"): boolean {
  return error instanceof Error && error.name === name;
}

function meaningOf(bucket: string, error: Error): { code: ErrorCode; words: string } {
  const known = MEANINGS[error.name];
  if (known) return { code: known.code, words: known.words.replace("BUCKET", `"${bucket}"`) };
  const status = (error as { $metadata?: { httpStatusCode?: number } }).$metadata?.httpStatusCode;
  if (status === 507) return FULL;
  if (status === 403) return { code: "pool_unavailable", words: `the S3 service does not allow it (${error.name}): see the key's rights in bucket "${bucket}"` };
  if (status === 404) return { code: "disk_not_found", words: "there is no such object" };
  const answer = status === undefined ? "the S3 service cannot be reached" : `the S3 service answers ${status} ${error.name}`;
  return { code: "pool_unavailable", words: `${answer}: ${error.message}` };
}

const FULL = { code: "pool_full", words: "the S3 service has no room: the quota of the bucket or of its user is used up" } as const;
const WRONG_KEY = "the S3 service refuses the key";
/** By the name of the error, https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html; QuotaExceeded is Ceph's, XMinio… MinIO's. */
const MEANINGS: Readonly<Record<string, { readonly code: ErrorCode; readonly words: string }>> = {
  NoSuchBucket: { code: "pool_unavailable", words: "the S3 service has no bucket BUCKET: make it, or set createBucketOnPut" },
  InvalidAccessKeyId: { code: "pool_unavailable", words: `${WRONG_KEY}: it does not know the access key` },
  SignatureDoesNotMatch: { code: "pool_unavailable", words: `${WRONG_KEY}: the secret key is not the access key's (or the region is another)` },
  ExpiredToken: { code: "pool_unavailable", words: `${WRONG_KEY}: it has expired` },
  RequestTimeTooSkewed: { code: "pool_unavailable", words: "the clocks of the S3 service and of this machine differ by more than 15 minutes" },
  QuotaExceeded: FULL,
  XMinioStorageFull: FULL,
  NoSuchKey: { code: "disk_not_found", words: "there is no such object" },
  NotFound: { code: "disk_not_found", words: "there is no such object" },
  InvalidRange: { code: "disk_not_found", words: "the object ends before the bytes that were asked for" },
  NoSuchUpload: { code: "cancelled", words: "the upload was given up" },
  EntityTooLarge: { code: "too_large", words: "the S3 service takes no object as large as this" },
  PreconditionFailed: { code: "disk_not_found", words: "the object was replaced by another while it was read" },
};
