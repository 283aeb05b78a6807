import { styleText } from "node:util";

type Style = "bold" | "dim" | "green" | "red" | "yellow" | "cyan";

/** Where the commands write. Results go to `out`, everything else to `err`, so that a pipe gets results only. */
export class Terminal {
  readonly #out: Sink;
  readonly #err: Sink;
  /** Somebody is looking: lines may be redrawn, and have colours. */
  readonly isLive: boolean;
  readonly #hasColour: boolean;
  readonly #columns: number;

  constructor(out: Sink = process.stdout, err: Sink = process.stderr, env: Readonly<Record<string, string | undefined>> = process.env) {
    this.#out = out;
    this.#err = err;
    this.isLive = out.isTTY === true && env.TERM !== "dumb";
    this.#columns = this.isLive ? Math.max(out.columns ?? 80, 60) : Number.POSITIVE_INFINITY;
    this.#hasColour = this.isLive && !env.NO_COLOR; // https://no-color.org
  }

  line(text = ""): void {
    this.#out.write(`${text}\n`);
  }

  json(value: unknown): void {
    this.line(JSON.stringify(value, null, 2));
  }

  complain(text: string): void {
    this.#err.write(`${text}\n`);
  }

  /** Overwrites the present line; only where `isLive`. */
  redraw(text: string): void {
    this.#out.write(`\r\u001b[2K${text}`);
  }

  style(style: Style | Style[], text: string): string {
    return this.#hasColour ? styleText(style, text, { validateStream: false }) : text;
  }

  /** Columns side by side, as wide as their widest cell; a column whose heading starts with ">" is aligned to the right. */
  table(head: readonly string[], rows: readonly (readonly string[])[]): void {
    const right = head.map((name) => name.startsWith(">"));
    const names = head.map((name) => name.replace(/^>/, ""));
    const widths = names.map((name, column) => Math.max(name.length, ...rows.map((row) => (row[column] ?? "").length)));
    const lay = (row: readonly string[]) =>
      row
        .map((cell, column) => (right[column] ? cell.padStart(widths[column] ?? 0) : cell.padEnd(widths[column] ?? 0)))
        .join("  ")
        .trimEnd();
    this.line(this.style("dim", lay(names)));
    for (const row of rows) this.line(lay(row));
  }

  /** "Name   value" lines, aligned; what is undefined is left out. Long values are broken between words where somebody looks. */
  facts(facts: Readonly<Record<string, string | undefined>>, { indent = "", nameWidth = 0 } = {}): void {
    const shown = Object.entries(facts).filter((entry): entry is [string, string] => entry[1] !== undefined);
    const width = Math.max(nameWidth, ...shown.map(([name]) => name.length));
    const room = this.#columns - indent.length - width - 2;
    for (const [name, value] of shown) {
      const [first = "", ...rest] = value.split("\n").flatMap((line) => wrap(line, room));
      this.line(`${indent}${this.style("dim", name.padEnd(width))}  ${first}`);
      for (const more of rest) this.line(`${indent}${" ".repeat(width)}  ${more}`);
    }
  }
}

/** Breaks a line between words; what follows is indented. Colours count as width: a coloured line breaks a little early. */
function wrap(line: string, width: number): string[] {
  const lines: string[] = [];
  let rest = line;
  while (rest.length > width) {
    const space = rest.lastIndexOf(" ", width);
    if (space <= 2) break;
    lines.push(rest.slice(0, space));
    rest = `  ${rest.slice(space + 1)}`;
  }
  return [...lines, rest];
}

export interface Sink {
  write(text: string): unknown;
  readonly isTTY?: boolean;
  readonly columns?: number;
}
