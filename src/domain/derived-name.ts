/** What a name in OpenStack may have, in characters (Unicode code points). */
const NAME_LENGTH_MAX = 255;

/** A name made of another one, which is cut where both together would be too long: Nova's own call ends with 500 there. */
export function derivedName(name: string, { before = "", after = "" }: { readonly before?: string; readonly after?: string }): string {
  const room = NAME_LENGTH_MAX - Array.from(before + after).length;
  return `${before}${Array.from(name).slice(0, room).join("")}${after}`;
}
