/**
 * The tables of cinderclient and glanceclient, which have no other form of output. A table of properties gives an object,
 * any other a list of objects, as `openstack -f json` does; all values are texts.
 */
export function parseTable(text: string): Record<string, string> | Record<string, string>[] {
  const [header = [], ...lines] = text
    .split("\n")
    .filter((line) => line.startsWith("|"))
    .map(cellsOf);
  if (/property$/i.test(header[0] ?? "") && header.length === 2) return Object.fromEntries(joined(lines) as [string, string][]);
  return lines.map((cells) => Object.fromEntries(header.map((name, index) => [name, cells[index] ?? ""])));
}

/** A value of many lines has no property before its second and later ones. */
function joined(lines: readonly string[][]): string[][] {
  const whole: string[][] = [];
  for (const [name = "", value = ""] of lines) {
    const last = whole.at(-1);
    if (name === "" && last) last[1] = `${last[1]}\n${value}`;
    else whole.push([name, value]);
  }
  return whole;
}

function cellsOf(line: string): string[] {
  return line
    .slice(1, line.lastIndexOf("|"))
    .split("|")
    .map((cell) => cell.trim());
}
