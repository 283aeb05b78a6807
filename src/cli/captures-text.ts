import type { CaptureCall, Captures, CaptureWay } from "#/client/mica.ts";
import { formatBytes } from "#/lib/units.ts";
import type { Terminal } from "./terminal.ts";
import { formatDuration, formatTime } from "./words.ts";

/** Shows every way to make an image of a server: a table of what each would cost and be worth, one of what the last ones did, and the reasons. */
export function showCaptures(terminal: Terminal, { server, guest, calls }: Captures): void {
  terminal.facts({ Server: `${terminal.style(["bold", "cyan"], server.name)} (${server.id}), ${server.status}`, Guest: guestWords(guest) });
  showPlanned(terminal, calls);
  showMeasured(terminal, calls);
  showReasons(terminal, calls);
}

function showPlanned(terminal: Terminal, calls: readonly CaptureCall[]): void {
  terminal.line();
  terminal.line(terminal.style("bold", "Planned: the first way of each call is taken, the next where that breaks"));
  const head = ["CALL", "METHOD", "WAY", ">READ", ">WRITTEN", ">TEMPORARY", "RESULT", "CONSISTENCY", "GUEST"];
  terminal.table(head, calls.flatMap((call) => (call.ways.length > 0 ? call.ways.map((way, index) => plannedRow(index === 0 ? callWords(call) : "", way)) : [[callWords(call), "refused now"]])));
}

function plannedRow(call: string, { method, strategies, bytes, consistency, guest, ...way }: CaptureWay): string[] {
  const sizes = [bytes.read, bytes.written, bytes.temporary].map(formatBytes);
  return [call, method, strategies.join(", "), ...sizes, resultWords(way), consistency.level, EFFECTS[guest]];
}

/** What is on record of each way; nothing where there is nothing. */
function showMeasured(terminal: Terminal, calls: readonly CaptureCall[]): void {
  const rows = calls.flatMap((call) => call.ways.flatMap(({ method, last }) => (last ? [measuredRow(callWords(call), method, last)] : [])));
  if (rows.length === 0) return;
  terminal.line();
  terminal.line(terminal.style("bold", "Measured: the last of each"));
  terminal.table(["CALL", "METHOD", ">TOOK", ">READ", ">WRITTEN", "CONSISTENCY", ">FROZEN", ">STOOD STILL", "ENDED"], rows);
}

function measuredRow(call: string, method: string, last: NonNullable<CaptureWay["last"]>): string[] {
  const { durationMs, bytes, level, freezeMs, downtimeMs, endedAt } = last;
  const held = [freezeMs, downtimeMs].map((ms) => (ms === 0 ? "" : formatDuration(ms)));
  return [call, method, formatDuration(durationMs), formatBytes(bytes.read), formatBytes(bytes.written), level ?? "", ...held, formatTime(endedAt)];
}

function showReasons(terminal: Terminal, calls: readonly CaptureCall[]): void {
  const ways = calls.flatMap((call) => call.ways);
  terminal.line();
  terminal.facts({
    Refused: lines(calls.flatMap((call) => (call.refusal === null ? [] : [`${callWords(call)}: ${call.refusal}`]))),
    Methods: lines(ways.map(({ method, reason }) => `${method}: ${reason}`)),
    "Not open": lines(calls.flatMap(({ closed }) => closed.map(({ method, because }) => `${method}: ${because}`))),
    Consistency: lines(ways.map(({ consistency: { level, because } }) => `${level}: ${because}`)),
  });
}

/** Each once; undefined where there is none. */
function lines(texts: readonly string[]): string | undefined {
  return texts.length === 0 ? undefined : [...new Set(texts)].join("\n");
}

function guestWords({ state, shutDown, hasAgent, agentConnected, freezeMsMax }: Captures["guest"]): string {
  if (state === "off") return shutDown ? "off: it has shut down" : "off: it had not shut down by itself";
  if (state !== "running") return state;
  if (!hasAgent) return "running; its image says nothing of an agent (hw_qemu_guest_agent)";
  return agentConnected ? `running; its agent is there, and may hold its file systems for ${formatDuration(freezeMsMax)} at most` : "running; its agent is not there";
}

function callWords({ call, allDisks, disks, becomes }: CaptureCall): string {
  return call === "createImage" ? `createImage${allDisks ? " of all disks" : ""} → ${becomes}` : `upload ${disks.join(", ")} → ${becomes}`;
}

function resultWords({ dependsOnParent, flattenAfter }: Pick<CaptureWay, "dependsOnParent" | "flattenAfter">): string {
  if (!dependsOnParent) return "stands alone";
  return flattenAfter ? "alone soon" : "on others";
}

const EFFECTS: Readonly<Record<CaptureWay["guest"], string>> = { none: "unaware", frozen: "writes wait", paused: "paused briefly", stopped: "stopped" };
