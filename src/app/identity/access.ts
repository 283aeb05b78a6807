import { AppError } from "#/domain/errors.ts";
import { hasRole, type Subject } from "#/domain/identity.ts";

/**
 * Who may call Identity, after Keystone's secure RBAC (https://docs.openstack.org/keystone/latest/admin/service-api-protection.html):
 * the role admin on any project or on the system administrates everything; a reader of the system sees everything; all others
 * see themselves. An admin of a domain is no administrator here.
 */
export const isAdministrator = (subject: Subject): boolean =>
  hasRole(subject, "admin") && (subject.scope.kind === "project" || subject.scope.kind === "system");

/** May see every record. */
export const isOverseer = (subject: Subject): boolean =>
  isAdministrator(subject) || (subject.scope.kind === "system" && hasRole(subject, "reader"));

/** `what` ends the sentence "You may not …". */
export function requireAdministrator(subject: Subject, what: string): void {
  if (!isAdministrator(subject))
    throw new AppError("forbidden", `You may not ${what}: it needs the role "admin" on a project or the system.`);
}

export function requireOverseer(subject: Subject, what: string): void {
  if (!isOverseer(subject)) throw new AppError("forbidden", `You may not ${what}: it needs the role "admin", or "reader" on the system.`);
}
