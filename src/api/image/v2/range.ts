import { AppError } from "#/domain/errors.ts";

/** Bytes from `start` up to, not with, `end`. */
export interface ByteRange {
  readonly start: number;
  readonly end: number;
}

/**
 * The bytes that a Range header asks for; undefined where there is none, which means all.
 * `bytes=0-99`, `bytes=100-` and `bytes=-100` (the last hundred), RFC 9110 §14.1.2. Several ranges at once are refused, as in Glance.
 */
export function parseRange(header: string | undefined, sizeBytes: number): ByteRange | undefined {
  if (header === undefined) return undefined;
  if (header.includes(",")) {
    throw new AppError(
      "bad_request",
      "Requests with multiple ranges are not supported. You may make multiple single-range requests instead.",
    );
  }
  const [, first, last] = /^\s*bytes\s*=\s*(\d*)\s*-\s*(\d*)\s*$/i.exec(header) ?? [];
  if (first === undefined || last === undefined || (first === "" && last === ""))
    throw new AppError("range_not_satisfiable", `Invalid Range header: ${header}`);
  const range = first === "" ? { start: Math.max(0, sizeBytes - Number(last)), end: sizeBytes } : fromFirst(first, last, sizeBytes);
  if (range.start >= range.end)
    throw new AppError("range_not_satisfiable", `The range ${header} is outside of the image, which has ${sizeBytes} bytes.`);
  return range;
}

function fromFirst(first: string, last: string, sizeBytes: number): ByteRange {
  return { start: Number(first), end: last === "" ? sizeBytes : Math.min(Number(last) + 1, sizeBytes) };
}
