import type { Figure } from "./figure.ts";

const HEADINGS = ["figure", "median", "p99", "ratio", "limit", "", "note"] as const;

/** The figures as a table for people; numbers to the right. */
export function tableOf(figures: readonly Figure[]): string {
  const rows = [HEADINGS, ...figures.map(cellsOf)];
  const widths = HEADINGS.map((_, column) => Math.max(...rows.map((row) => (row[column] ?? "").length)));
  return rows.map((row) => row.map((cell, column) => pad(cell, widths[column] ?? 0, isNumeric(column))).join("  ").trimEnd()).join("\n");
}

function cellsOf({ figure, unit, median, p99, ratio, against, limit, note }: Figure): string[] {
  const compared = ratio === undefined ? "" : `${ratio.toFixed(2)} × ${against}`;
  const amount = (value: number | undefined) => (value === undefined ? "" : `${rounded(value)} ${unit}`);
  return [figure, amount(median), amount(p99), compared, limit?.says ?? "", limit ? (limit.met ? "met" : "MISSED") : "", note ?? ""];
}

function rounded(value: number): string {
  if (Number.isInteger(value)) return String(value);
  return value.toFixed(value >= 100 ? 0 : value >= 10 ? 1 : 2);
}

const isNumeric = (column: number): boolean => column === 1 || column === 2;

function pad(text: string, width: number, right: boolean): string {
  return right ? text.padStart(width) : text.padEnd(width);
}
