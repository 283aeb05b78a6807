import type { KeyValuePairs } from "#/db/key-values.ts";
import { invalidInput } from "#/domain/volume.ts";

/**
 * The pairs that a filter such as `metadata={'colour': 'red'}` names. Python's clients send a dictionary as Python prints it;
 * JSON is understood as well, since it only differs in its quotes.
 */
export function pairsOf(name: string, dictionary: string): KeyValuePairs {
  const pairs: Record<string, string> = Object.create(null);
  let rest = dictionary.trim();
  if (!rest.startsWith("{") || !rest.endsWith("}")) throw notPairs(name, dictionary);
  rest = rest.slice(1, -1).trim();
  while (rest !== "") {
    const match = PAIR.exec(rest);
    if (!match) throw notPairs(name, dictionary);
    pairs[unquote(match[1] ?? "")] = unquote(match[2] ?? "");
    rest = rest.slice(match[0].length);
  }
  return { ...pairs };
}

const QUOTED = String.raw`u?('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")`;
const PAIR = new RegExp(String.raw`^${QUOTED}\s*:\s*${QUOTED}\s*(?:,\s*|$)`);

function unquote(quoted: string): string {
  return quoted.slice(1, -1).replaceAll(/\\(.)/g, "$1");
}

function notPairs(name: string, text: string) {
  return invalidInput(`The filter ${name} must be a dictionary like {'key': 'value'}, not ${text}`);
}
