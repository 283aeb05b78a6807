import { Command, CommanderError } from "commander";
import { ClientError, type ClientFailure } from "#/client/errors.ts";
import { AppError, ERRORS } from "#/domain/errors.ts";
import type { CommandContext } from "./command.ts";
import { addAuditCommand, addConfigCommand, addServeCommand, addWorkerCommand, type Handlers } from "./local.ts";
import { Terminal } from "./terminal.ts";

const EXIT_CODES = `
Exit codes:
  0    done
  1    Mica refused, an operation failed, or the audit found something
  2    the command line or the configuration is wrong
  3    no Mica answers, or it does not let us in
  70   a defect of Mica itself
  130  interrupted with Ctrl-C`;

const EXIT_BY_FAILURE: Readonly<Record<ClientFailure, number>> = {
  refused: 1,
  operation_failed: 1,
  too_late: 1,
  unreachable: 3,
  no_access: 3,
};

/** Commands that speak to nobody: the client's code would be a fifth of the time that `mica serve` takes to start. */
const LOCAL: readonly string[] = ["serve", "worker", "audit", "config"];

/** Those that run until a signal ends them, gently. */
const RUNNING: readonly string[] = ["serve", "worker"];

/** Runs the command line without the program's name, and gives the exit code. */
export async function runCli(argv: readonly string[], handlers: Handlers, terminal = new Terminal()): Promise<number> {
  let exitCode = 0;
  const interrupted = new AbortController();
  const context: CommandContext = {
    terminal,
    signal: interrupted.signal,
    exitWith: (code) => {
      exitCode = code;
    },
  };
  const stopListening = interruptOnce(argv, interrupted);
  try {
    const program = await buildProgram(argv[0] ?? "", context, handlers);
    await program.parseAsync([...argv], { from: "user" });
    return exitCode;
  } catch (error) {
    if (!interrupted.signal.aborted) return complain(terminal, error);
    terminal.complain("Interrupted.");
    return 130;
  } finally {
    stopListening();
  }
}

async function buildProgram(name: string, context: CommandContext, handlers: Handlers): Promise<Command> {
  const program = new Command("mica")
    .description("The disk-image life cycle of virtual machines in one system.")
    .addHelpText("after", EXIT_CODES)
    .exitOverride()
    .configureOutput({
      writeOut: (text) => context.terminal.line(text.trimEnd()),
      writeErr: (text) => context.terminal.complain(text.trimEnd()),
    })
    .showHelpAfterError("Try: mica --help");
  addServeCommand(program, handlers);
  addWorkerCommand(program, handlers);
  addAuditCommand(program, context, handlers);
  addConfigCommand(program, context);
  if (!LOCAL.includes(name)) (await import("./client-commands.ts")).addClientCommands(program, context);
  return program;
}

/** The first Ctrl-C asks a client command to clean up and end; `serve` and `worker` have their own, gentler, end. A second one ends the process. */
function interruptOnce(argv: readonly string[], interrupted: AbortController): () => void {
  if (RUNNING.includes(argv[0] ?? "")) return () => {};
  const interrupt = () => interrupted.abort();
  process.once("SIGINT", interrupt);
  return () => process.off("SIGINT", interrupt);
}

/** `mica pools | head -1` ends quietly when head has gone; `serve` and `worker` go on, whether somebody reads what it prints or not. For the process, once. */
export function endWithReader(argv: readonly string[]): void {
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (RUNNING.includes(argv[0] ?? "")) return;
    if (error.code === "EPIPE") process.exit();
    throw error;
  });
}

/** Says what went wrong and what to do, and gives the exit code. */
function complain(terminal: Terminal, error: unknown): number {
  // Commander has already said it, or has shown the help that was asked for.
  if (error instanceof CommanderError) return error.exitCode === 0 || error.code === "commander.help" ? 0 : 2;
  if (error instanceof ClientError) {
    say(terminal, error.message, error.fix);
    return EXIT_BY_FAILURE[error.failure];
  }
  if (error instanceof AppError) {
    say(terminal, error.message, ERRORS[error.code].fix);
    return error.code === "config_invalid" ? 2 : 1;
  }
  terminal.complain(`mica: a defect: ${error instanceof Error ? error.stack : String(error)}`);
  return 70;
}

function say(terminal: Terminal, message: string, fix: string | undefined): void {
  terminal.complain(`${terminal.style("red", "mica:")} ${message}`);
  if (fix) terminal.complain(`  → ${fix}`);
}
