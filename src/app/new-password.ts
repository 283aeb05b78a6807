import { randomInt } from "node:crypto";

/** No signs that look like others, as Nova's (nova/utils.py `generate_password`). */
const GROUPS = ["23456789", "ABCDEFGHJKLMNPQRSTUVWXYZ", "abcdefghijkmnopqrstuvwxyz"] as const;
const LENGTH = 12;

/** A password for a guest's administrator, with a sign of each group: Windows wants that. */
export function newPassword(): string {
  const signs = GROUPS.map(oneOf);
  while (signs.length < LENGTH) signs.push(oneOf(GROUPS.join("")));
  for (let last = signs.length - 1; last > 0; last--) {
    const other = randomInt(last + 1);
    [signs[last], signs[other]] = [signs[other] as string, signs[last] as string];
  }
  return signs.join("");
}

function oneOf(signs: string): string {
  return signs.charAt(randomInt(signs.length));
}
