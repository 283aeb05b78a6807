import type { Actual, Plan } from "#/client/mica.ts";
import { formatBytes } from "#/lib/units.ts";
import type { Terminal } from "./terminal.ts";
import { formatDuration } from "./words.ts";

/** Shows a plan: the way, its steps and bytes, and why no cheaper way was taken; and `actual`, what came of it. */
export function showPlan(terminal: Terminal, plan: Plan, actual?: Actual | null): void {
  terminal.facts({
    Way: `${terminal.style(["bold", "cyan"], plan.strategy)}: ${plan.reason}`,
    Steps: plan.steps.map(({ name, description }) => `${name}: ${description}`).join("\n"),
    Read: plan.capture && `${plan.capture.method}: ${plan.capture.reason}`,
    "Not read": plan.capture?.passedOver.map(({ method, because }) => `by ${method}: ${because}`).join("\n") || undefined,
    "Not taken": plan.passedOver.map(({ strategy, because }) => `${strategy}: ${because}`).join("\n") || undefined,
    Pool: plan.poolChoice?.because,
    "Not into": plan.poolChoice?.passedOver.map(({ pool, because }) => `${pool}: ${because}`).join("\n") || undefined,
    Result: plan.dependsOnParent ? `reads through ${plan.depth} other disk${plan.depth === 1 ? "" : "s"}` : "stands alone",
    Planned: bytesWords(plan.bytes),
    Captured: capturedWords(actual),
    Moved: actual ? bytesWords(actualBytes(actual)) : undefined,
    "Fell back": actual?.fellBack?.map(({ strategy, because }) => `from ${strategy}: ${because}`).join("\n") || undefined,
  });
}

/** "filesystem, frozen for 31 ms"; undefined before the instant. */
function capturedWords(actual: Actual | null | undefined): string | undefined {
  const { level, because, freezeMs = 0, downtimeMs = 0 } = actual?.capture ?? {};
  if (level === undefined) return undefined;
  const held = [freezeMs > 0 && `frozen for ${formatDuration(freezeMs)}`, downtimeMs > 0 && `the guest stood still for ${formatDuration(downtimeMs)}`];
  return [`${level}${because ? ` (${because})` : ""}`, ...held.filter((words) => words !== false)].join(", ");
}

/** What was moved, in the words of a plan. */
export function actualBytes({ bytesRead = 0, bytesWritten = 0, bytesThroughUs = 0, bytesTemporary = 0 }: Actual): Plan["bytes"] {
  return { read: bytesRead, written: bytesWritten, throughUs: bytesThroughUs, temporary: bytesTemporary };
}

/** "read 48 MiB, written 48 MiB, through Mica 0 B, temporary 0 B". */
export function bytesWords({ read, written, throughUs, temporary }: Plan["bytes"]): string {
  const words = { read, written, "through Mica": throughUs, temporary };
  return Object.entries(words)
    .map(([word, bytes]) => `${word} ${formatBytes(bytes)}`)
    .join(", ");
}
