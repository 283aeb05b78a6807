/** Why a call to Mica failed. */
export type ClientFailure =
  /** Nobody answers at the address. */
  | "unreachable"
  /** No credentials were found, or they were refused. */
  | "no_access"
  /** Mica said no, or failed. */
  | "refused"
  /** It took longer than we wait. */
  | "too_late"
  /** The operation that was started has failed. */
  | "operation_failed";

/** `message` says what went wrong; `fix` what to do about it. */
export class ClientError extends Error {
  override readonly name = "ClientError";
  readonly failure: ClientFailure;
  readonly fix: string | undefined;
  /** The HTTP status, where there was an answer. */
  readonly status: number | undefined;

  constructor(failure: ClientFailure, message: string, options: ErrorOptions & { fix?: string | undefined; status?: number } = {}) {
    super(message, options);
    this.failure = failure;
    this.fix = options.fix;
    this.status = options.status;
  }
}

/** The error that an answer carries, whichever of the four APIs' shapes its body has. */
export async function answerError(response: Response, what: string): Promise<ClientError> {
  const { message, fix } = parseFault(await response.text().catch(() => ""));
  const requestId = response.headers.get("x-openstack-request-id");
  const words = `${what}: ${message ?? `${response.status} ${response.statusText}`}${response.status >= 500 && requestId ? ` (${requestId})` : ""}`;
  const failure = response.status === 401 ? "no_access" : "refused";
  return new ClientError(failure, words, { status: response.status, fix: fix ?? FIXES[response.status] });
}

const FIXES: Readonly<Record<number, string>> = {
  401: "Check the user, the password and the project in clouds.yaml or the OS_ variables.",
  403: "Use a user whose roles allow it: `mica role list` shows who has which.",
  404: "Check the id or name, and the project that you work in.",
  413: "Delete something of the project, or have its quota raised.",
};

/** Identity and Mica say `{error:{message,fix?}}`, Volume `{faultName:{message}}`, Image `{message}`. */
function parseFault(text: string): { message?: string | undefined; fix?: string | undefined } {
  try {
    const body = JSON.parse(text) as { message?: unknown };
    const fault = (typeof body.message === "string" ? body : Object.values(body)[0]) as { message?: string; fix?: string } | undefined;
    return { message: fault?.message, fix: fault?.fix };
  } catch {
    return { message: text.slice(0, 200).trim() || undefined };
  }
}
