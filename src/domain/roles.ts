import type { Role } from "./identity.ts";

/** The roles that the APIs act on. Their ids are their names, and they can be neither changed nor deleted. */
export const BUILT_IN_ROLES = [
  { id: "admin", name: "admin", description: "May do everything, in every project." },
  { id: "member", name: "member", description: "May use a project: make, change and delete." },
  { id: "reader", name: "reader", description: "May look at a project." },
  { id: "service", name: "service", description: "A service that speaks to other services." },
] as const satisfies readonly Role[];

/** https://docs.openstack.org/keystone/latest/admin/service-api-protection.html: admin implies member, member implies reader. */
const IMPLIED_ROLES: Readonly<Record<string, readonly string[]>> = { admin: ["member", "reader"], member: ["reader"] };

export const isBuiltInRole = (id: string): boolean => BUILT_IN_ROLES.some((role) => role.id === id);

/** The roles with the ones that they imply, each once, sorted by name. */
export function withImpliedRoles(roles: readonly Role[]): Role[] {
  const implied = new Set(roles.flatMap(({ id }) => IMPLIED_ROLES[id] ?? []));
  const missing = BUILT_IN_ROLES.filter(({ id }) => implied.has(id) && !roles.some((role) => role.id === id));
  return [...roles, ...missing].toSorted((a, b) => (a.name < b.name ? -1 : 1));
}
