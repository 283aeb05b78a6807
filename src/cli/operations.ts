import type { Command } from "commander";
import { ClientError } from "#/client/errors.ts";
import type { Mica, Operation } from "#/client/mica.ts";
import { formatBytes } from "#/lib/units.ts";
import { type ClientOptions, type CommandContext, connect, withClientOptions } from "./command.ts";
import { showPlan } from "./plan-text.ts";
import { Progress } from "./progress.ts";
import type { Terminal } from "./terminal.ts";
import { formatDuration, formatPercent, formatTime } from "./words.ts";

export function addOperationsCommand(program: Command, context: CommandContext): void {
  const operations = program.command("operations").description("what Mica does and has done: list, show, follow, cancel");
  addList(operations, context);
  addShow(operations, context);
  addFollow(operations, context);
  addCancel(operations, context);
}

interface ListOptions extends ClientOptions {
  readonly limit?: string;
  readonly marker?: string;
  readonly subject?: string;
  readonly state?: string;
}

function addList(operations: Command, { terminal }: CommandContext): void {
  const command = operations
    .command("list")
    .description("the newest operations")
    .option("--subject <id>", "only those of this image, volume, snapshot or server")
    .option("--state <state>", "only those that are running, undoing, done, undone or stuck")
    .option("--limit <count>", "how many")
    .option("--marker <id>", "those before this one");
  withClientOptions(command).action(async ({ limit, marker, subject, state, ...options }: ListOptions) => {
    const { mica } = await connect(options);
    const page = await mica.operations({ limit, marker, subject, state });
    if (options.json) return terminal.json(page);
    terminal.table(["ID", "KIND", "SUBJECT", "STATE", ">PROGRESS", "STARTED", ">TOOK", "WAY"], page.operations.map(operationRow));
    const last = page.operations.at(-1);
    if (page.next && last) terminal.line(terminal.style("dim", `More: mica operations list --marker ${last.id}`));
  });
}

function operationRow({ id, kind, subject, state, progress, createdAt, durationMs, ...operation }: Operation): string[] {
  const took = durationMs === undefined || durationMs === null ? "" : formatDuration(durationMs);
  return [id, kind, `${subject.kind} ${subject.id}`, state, formatPercent(progress), formatTime(createdAt), took, wayWords(operation)];
}

/** "backup_job, stream_convert": how a server's disks were read, or will be, and how the result is made of that. */
function wayWords({ plan, actual }: Pick<Operation, "plan" | "actual">): string {
  const methods = actual?.capture ? Object.values(actual.capture.methods) : [plan?.capture?.method];
  return [...new Set([...methods, plan?.strategy])].filter((word) => word !== undefined).join(", ");
}

function addShow(operations: Command, { terminal }: CommandContext): void {
  const command = operations.command("show").description("one operation: its plan, steps and result").argument("<id>");
  withClientOptions(command).action(async (id: string, options: ClientOptions) => {
    const { mica } = await connect(options);
    const operation = await mica.operation(id);
    if (options.json) terminal.json(operation);
    else showOperation(terminal, operation);
  });
}

function addFollow(operations: Command, context: CommandContext): void {
  const command = operations
    .command("follow")
    .description("watch an operation until it ends; the newest one where none is named")
    .argument("[id]");
  withClientOptions(command).action(async (id: string | undefined, options: ClientOptions) => {
    const { mica } = await connect(options);
    const last = await followOperation(context, mica, id ?? (await newest(mica)), options);
    if (last && last.state !== "done") context.exitWith(1);
  });
}

/** Shows the operation as it goes on, and, when it has ended, in full. The answer is how it stands then. */
export async function followOperation(
  { terminal, signal }: CommandContext,
  mica: Mica,
  id: string,
  { json }: ClientOptions,
): Promise<Operation | undefined> {
  let progress = new Progress(terminal);
  let last: Operation | undefined;
  for await (const operation of mica.follow(id, signal)) {
    // Progress and rate are of a step: each has its own bar.
    if (operation.step !== last?.step) progress = new Progress(terminal, workBytes(operation));
    last = operation;
    if (json) terminal.line(JSON.stringify(operation));
    else progress.show(`${operation.kind} ${operation.step ?? operation.state}`, operation.progress);
  }
  progress.clear();
  if (last && !json) showOperation(terminal, last);
  return last;
}

/** The bytes that the progress counts: whatever is moved most. */
function workBytes({ plan }: Operation): number | undefined {
  return plan ? Math.max(plan.bytes.read, plan.bytes.written, plan.bytes.throughUs) : undefined;
}

async function newest(mica: Mica): Promise<string> {
  const [operation] = (await mica.operations({ limit: "1" })).operations;
  if (!operation)
    throw new ClientError("refused", "There is no operation yet.", { fix: "Start one: create a volume, or upload an image." });
  return operation.id;
}

function addCancel(operations: Command, { terminal }: CommandContext): void {
  const command = operations.command("cancel").description("end an operation; what it has begun is undone").argument("<id>");
  withClientOptions(command).action(async (id: string, options: ClientOptions) => {
    const { mica } = await connect(options);
    await mica.cancel(id);
    if (options.json) terminal.json({ cancelled: id });
    else terminal.line(`Cancelling ${id}. Watch it: mica operations follow ${id}`);
  });
}

/** Shows one operation in full. */
function showOperation(terminal: Terminal, operation: Operation): void {
  const { error, plan, durationMs } = operation;
  terminal.facts({
    Operation: operation.id,
    Does: `${operation.kind} for ${operation.subject.kind} ${operation.subject.id}`,
    State: `${stateWord(terminal, operation.state)}${operation.endedAt ? "" : `, ${formatPercent(operation.progress)}, at ${operation.step ?? "the start"}`}`,
    Started: formatTime(operation.createdAt),
    Took: durationMs === undefined || durationMs === null ? undefined : formatDuration(durationMs),
    [operation.state === "running" ? "Waits" : "Failed"]: error ? `${error.message}${error.fix ? `\n→ ${error.fix}` : ""}` : undefined,
    Shared: sharedWords(operation),
    Journal:
      operation.steps?.map(({ name, state, because }) => `${name}: ${state}${because ? ` (${because})` : ""}`).join("\n") || undefined,
  });
  if (plan) showPlan(terminal, plan, operation.actual);
}

/** Of an operation that had storage keep once what was there twice. */
function sharedWords({ actual }: Operation): string | undefined {
  if (actual?.bytesShared === undefined) return undefined;
  return `${formatBytes(actual.bytesShared)} are kept once from now on; ${formatBytes(actual.bytesRead ?? 0)} were read to find them`;
}

function stateWord(terminal: Terminal, state: Operation["state"]): string {
  const colours = { done: "green", running: "cyan", undoing: "yellow", undone: "red", stuck: "red" } as const;
  return terminal.style(colours[state], state);
}
