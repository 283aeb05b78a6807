import { randomUUID } from "node:crypto";

/** Identity's ids have Keystone's form, 32 hexadecimal digits: some clients look for it in the paths of a catalog. */
export function newIdentityId(): string {
  return randomUUID().replaceAll("-", "");
}
