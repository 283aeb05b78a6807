import { AppError } from "#/domain/errors.ts";
import type { TimeCondition } from "#/domain/image-listing.ts";
import { SECOND_MS } from "#/lib/units.ts";

const OPERATORS = ["gt", "gte", "eq", "neq", "lt", "lte"] as const;
type Operator = (typeof OPERATORS)[number];

/** `gte:2026-01-31T12:00:00Z`; without an operator it is `eq`. The API shows whole seconds, so each stands for all of its milliseconds. */
export function parseTimeCondition(attribute: TimeCondition["attribute"], text: string): TimeCondition {
  const { operator, time } = split(text);
  const fromMs = Math.floor(parseTime(time) / SECOND_MS) * SECOND_MS;
  const afterMs = fromMs + SECOND_MS;
  switch (operator) {
    case "gt":
      return { attribute, fromMs: afterMs, beforeMs: END_MS, inverted: false };
    case "gte":
      return { attribute, fromMs, beforeMs: END_MS, inverted: false };
    case "lt":
      return { attribute, fromMs: START_MS, beforeMs: fromMs, inverted: false };
    case "lte":
      return { attribute, fromMs: START_MS, beforeMs: afterMs, inverted: false };
    case "eq":
    case "neq":
      return { attribute, fromMs, beforeMs: afterMs, inverted: operator === "neq" };
    default:
      return operator satisfies never;
  }
}

/** All that a Date can say. */
const START_MS = -8.64e15;
const END_MS = 8.64e15;

function split(text: string): { operator: Operator; time: string } {
  const [, name, rest] = /^([a-z]+):(.*)$/.exec(text) ?? [];
  if (name === undefined) return { operator: "eq", time: text };
  const operator = OPERATORS.find((known) => known === name);
  if (!operator) throw new AppError("bad_request", `Unable to filter by unknown operator '${name}'.`);
  return { operator, time: rest ?? "" };
}

/** ISO 8601, with or without a zone; without one it is UTC. */
function parseTime(text: string): number {
  const match = /^(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?))?(Z|[+ -]\d{2}:?\d{2})?$/.exec(text.trim());
  const [, date, time = "00:00:00", zone = "Z"] = match ?? [];
  const ms = Date.parse(`${date}T${time}${zone.replace(" ", "+").replace(/^([+-]\d{2})(\d{2})$/, "$1:$2")}`);
  if (!Number.isNaN(ms)) return ms;
  throw new AppError("bad_request", `Invalid time '${text}': write it as 2026-01-31T12:00:00Z.`);
}
