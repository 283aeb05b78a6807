import type { FastifyReply, FastifyRequest } from "fastify";
import { AppError, asAppError, ERRORS, type ErrorCode } from "#/domain/errors.ts";

/** Not imported: an import reads every export of node:http, and so loads Node's whole fetch, 80 ms of each start. */
const { STATUS_CODES } = process.getBuiltinModule("node:http");

/** What the caller is told of a failure, before an API gives it its own shape. */
export interface Fault {
  readonly status: number;
  readonly code: ErrorCode;
  readonly message: string;
  /** What to do about it, in words. */
  readonly fix: string;
  /** The words that HTTP has for the status: "Not Found". */
  readonly title: string;
}

/** A fault in the form that an API's clients read. */
export interface FaultBody {
  readonly contentType: string;
  readonly body: string;
}

/** How one API shows a fault; `fault-shapes.ts` has one for each. */
export type FaultShape = (fault: Fault, request: FastifyRequest) => FaultBody;

/** How long a client is asked to wait before it repeats a refused request, in seconds. */
const RETRY_AFTER_SECONDS = 1;

/** Fastify's own refusals (a bad header, a body too large, an unknown content type) by their HTTP status. */
const CODES_OF_STATUS: Readonly<Record<number, ErrorCode>> = {
  404: "not_found",
  408: "request_timeout",
  413: "too_large",
  415: "unsupported_media",
  503: "unavailable",
};

/** Any error as a fault. What is not a refusal of ours or of Fastify's is a defect: the caller gets the request id, the log the rest. */
function faultOf(error: unknown, requestId: string): Fault {
  const refusal = asAppError(error) ?? refusalOfFastify(error) ?? refusalOfConnection(error);
  if (!refusal) return fault("internal", `An unexpected error. The log has more under the request id ${requestId}.`);
  return fault(refusal.code, refusal.message);
}

/** Answers with the fault in the API's shape, and logs what an operator must see. */
export function sendFault(shape: FaultShape, error: unknown, request: FastifyRequest, reply: FastifyReply): void {
  const fault = faultOf(error, request.id);
  if (fault.status >= 500) request.log.error({ err: error }, "request failed");
  if (fault.status === 401) reply.header("www-authenticate", 'Keystone uri="/identity/v3"');
  if (RETRY_LATER.has(fault.status) && !reply.hasHeader("retry-after")) reply.header("retry-after", String(RETRY_AFTER_SECONDS));
  if (fault.status === 408) reply.header("connection", "close"); // The rest of the body may never come.
  const { contentType, body } = shape(fault, request);
  void reply.code(fault.status).type(contentType).send(body);
}

/** Cinder adds Retry-After to 413 (over a limit) as well as to 429 and 503. */
const RETRY_LATER: ReadonlySet<number> = new Set([413, 429, 503]);

function fault(code: ErrorCode, message: string): Fault {
  const { status, fix } = ERRORS[code];
  return { status, code, message, fix, title: STATUS_CODES[status] ?? "Error" };
}

function refusalOfFastify(error: unknown): AppError | undefined {
  if (!(error instanceof Error) || !("statusCode" in error) || !("code" in error)) return undefined;
  const { statusCode, code } = error;
  if (typeof statusCode !== "number" || typeof code !== "string" || !code.startsWith("FST_")) return undefined;
  if (statusCode >= 500 && statusCode !== 503) return undefined;
  return new AppError(CODES_OF_STATUS[statusCode] ?? "bad_request", error.message, { cause: error });
}

/** The client went away while its body was being read: nobody reads the answer, but it is no defect. */
function refusalOfConnection(error: unknown): AppError | undefined {
  const aborted = error instanceof Error && "code" in error && error.code === "ECONNRESET" && error.message === "aborted";
  return aborted ? new AppError("upload_broken", "The body was cut off.", { cause: error }) : undefined;
}
