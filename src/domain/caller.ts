import { AppError } from "./errors.ts";
import type { ProjectId, UserId } from "./ids.ts";

/** Who makes a request, as its token says. Roles carry OpenStack's secure-RBAC meaning; implied roles are already added. */
export interface Caller {
  readonly userId: UserId;
  readonly userName: string;
  /** The project that the token is scoped to. */
  readonly projectId: ProjectId;
  /** Of admin, member, reader, service. admin implies member, member implies reader. */
  readonly roles: ReadonlySet<string>;
  /** The request's id, `req-…`, for logs, messages and the response header. */
  readonly requestId: string;
  /** A valid X-Service-Token with the role `service` came along. */
  readonly isService: boolean;
}

export const isAdmin = (caller: Caller): boolean => caller.roles.has("admin");

/** Throws `forbidden` unless the caller has the role; `what` ends the sentence "You may not …". */
export function requireRole(caller: Caller, role: "admin" | "member" | "reader" | "service", what: string): void {
  if (caller.roles.has(role) || (role === "service" && caller.isService)) return;
  throw new AppError("forbidden", `You may not ${what}: it needs the role "${role}".`);
}
