import { type ChildProcess, spawn } from "node:child_process";
import type { Readable } from "node:stream";
import { AppError, type ErrorCode } from "#/domain/errors.ts";
import { KiB, MiB, SECOND_MS } from "#/lib/units.ts";
import { type Confinement, confinedCommand, sandbox } from "#/tools/sandbox.ts";

export interface RunOptions {
  /** The program is stopped after this time, and the run fails with `tool_timed_out`. Infinity: it serves others until the signal ends it. */
  readonly timeoutMs: number;
  /** Stops the program; the run fails with `cancelled`. */
  readonly signal?: AbortSignal | undefined;
  /**
   * For short programs that change what others stand on, and finish after SIGTERM what they must not leave half done: they are
   * never killed, neither at their time limit, when we stop waiting, nor when we die ourselves.
   */
  readonly gentle?: boolean | undefined;
  /** For every program that reads bytes a user made. Without it, the program may do what we may. */
  readonly confine?: Confinement | undefined;
  /** A process whose mounts the program sees in the place of ours. */
  readonly mountsOf?: number | undefined;
  /** Each line of stdout as it comes; a line ends with `\n` or `\r`, as progress bars do. */
  readonly onLine?: ((line: string) => void) | undefined;
  /** The same for stderr. */
  readonly onErrorLine?: ((line: string) => void) | undefined;
  /** How much of the end of stdout is kept. */
  readonly stdoutBytesMax?: number | undefined;
}

export interface Finished {
  /** The end of what it printed, at most `stdoutBytesMax` bytes. */
  readonly stdout: string;
  readonly stderr: string;
  readonly durationMs: number;
}

/** The `cause` of a failed run: what the program itself had to say. */
export class ToolFailure extends Error {
  override readonly name = "ToolFailure";
  readonly exitCode: number | undefined;
  /** The end of stderr, control characters escaped. */
  readonly stderr: string;

  constructor(message: string, exitCode: number | undefined, stderr: string) {
    super(message);
    this.exitCode = exitCode;
    this.stderr = stderr;
  }
}

/**
 * Runs an outside program to its end, without a shell, and returns what it printed. It ends with us, even when we are
 * killed. Errors: `tool_failed`, `tool_timed_out`, `cancelled`, each naming the command and the last of stderr.
 */
export async function run(program: string, args: readonly string[], options: RunOptions): Promise<Finished> {
  const command = [program, ...args];
  if (options.signal?.aborted) throw failure(command, { code: "cancelled", because: "cancelled before it began" }, "");
  const [file, ...rest] = [...enter(options), ...confinedCommand(await sandbox(), command, options)];
  const startedMs = performance.now();
  const child = spawn(file as string, rest, { cwd: "/", env: ENVIRONMENT, stdio: ["ignore", "pipe", "pipe"], detached: true });
  const stdout = new Tail(child.stdout, options.stdoutBytesMax ?? MiB);
  const stderr = new Tail(child.stderr, STDERR_BYTES_MAX);
  if (options.onLine) eachLine(child.stdout, options.onLine);
  if (options.onErrorLine) eachLine(child.stderr, options.onErrorLine);
  using stopped = stopWhenDue(child, options);
  const exit = await Promise.race([ended(child), stopped.gaveUp]);
  const trouble = stopped.because ?? troubleOf(exit);
  if (trouble) throw failure(command, trouble, escapeControls(stderr.text()), exit);
  return { stdout: stdout.text(), stderr: escapeControls(stderr.text()), durationMs: performance.now() - startedMs };
}

function enter({ mountsOf }: RunOptions): string[] {
  return mountsOf === undefined ? [] : ["nsenter", `--mount=/proc/${mountsOf}/ns/mnt`, "--"];
}

/** Control characters as `\xNN`, so that what a program prints cannot steer a terminal or fake a log line. */
export function escapeControls(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what this looks for.
  return text.replace(/[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g, (character) => {
    const code = character.charCodeAt(0);
    return code < 256 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u${code.toString(16)}`;
  });
}

const STDERR_BYTES_MAX = 8 * KiB;
/** As long as a tool gets to end by itself, after SIGTERM and again after SIGKILL (a dead disk keeps it in the kernel). */
const GRACE_MS = 2 * SECOND_MS;
/** A command in a message is cut after this many characters: block nodes are long. */
const COMMAND_LENGTH_MAX = 600;
/**
 * Nothing of our own environment: it may hold secrets. Messages in English, since `qemu-img.ts` knows some of them. glibc takes 64 MiB of
 * address space for an arena per thread, and the tools have limits: a writer to Ceph takes 0.8 instead of 1.1 GiB like this.
 */
const ENVIRONMENT = { PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", LC_ALL: "C.UTF-8", MALLOC_ARENA_MAX: "4" } as const;

/** The signals' numbers as a shell or bubblewrap reports them: 128 + number. */
const EXIT_OF_CPU_LIMIT = 128 + 24;

type Exit = { readonly code: number | null; readonly signal: NodeJS.Signals | null; readonly error?: Error };
type Trouble = { readonly code: ErrorCode; readonly because: string };

/** Resolves when the program is gone and its pipes are closed: then nothing of it writes any more, also in a sandbox. */
function ended(child: ChildProcess): Promise<Exit> {
  return new Promise((resolve) => {
    child.once("error", (error) => resolve({ code: null, signal: null, error }));
    child.once("close", (code, signal) => resolve({ code, signal }));
  });
}

function troubleOf(exit: Exit | undefined): Trouble | undefined {
  if (!exit || exit.code === 0) return undefined;
  if (exit.error) return { code: "tool_failed", because: `it could not be started (${exit.error.message})` };
  if (exit.signal === "SIGXCPU" || exit.code === EXIT_OF_CPU_LIMIT) {
    return { code: "tool_timed_out", because: "it used more processor time than it may" };
  }
  return { code: "tool_failed", because: exit.signal ? `killed by ${exit.signal}` : `exit status ${exit.code}` };
}

function failure(command: readonly string[], { code, because }: Trouble, stderr: string, exit?: Exit): AppError {
  const shown = escapeControls(command.join(" ")).slice(0, COMMAND_LENGTH_MAX);
  const said = stderr.trim().replaceAll(/\s*\n\s*/g, "; ");
  const message = `Cannot run "${shown}": ${because}${said && `: ${said}`}`;
  return new AppError(code, message, { cause: new ToolFailure(because, exit?.code ?? undefined, stderr) });
}

/** Stops the program at its time limit or when cancelled: SIGTERM, then SIGKILL unless it is to be gentle, then we no longer wait for it. */
function stopWhenDue(child: ChildProcess, { timeoutMs, signal, gentle }: RunOptions) {
  const gaveUp = Promise.withResolvers<undefined>();
  const timers = new Set<NodeJS.Timeout>();
  const after = (ms: number, work: () => void) => timers.add(setTimeout(work, ms));
  const stopped = {
    because: undefined as Trouble | undefined,
    gaveUp: gaveUp.promise,
    [Symbol.dispose]() {
      for (const timer of timers) clearTimeout(timer);
      signal?.removeEventListener("abort", cancel);
    },
  };
  const stop = (because: Trouble) => {
    if (stopped.because) return;
    stopped.because = because;
    killGroup(child, "SIGTERM");
    if (!gentle) after(GRACE_MS, () => killGroup(child, "SIGKILL"));
    after(2 * GRACE_MS, () => abandon(child, gaveUp.resolve));
  };
  const cancel = () => stop({ code: "cancelled", because: "cancelled" });
  if (Number.isFinite(timeoutMs)) after(timeoutMs, () => stop({ code: "tool_timed_out", because: `not done after ${timeoutMs / SECOND_MS} s` }));
  signal?.addEventListener("abort", cancel);
  if (signal?.aborted) cancel();
  return stopped;
}

/**
 * `detached` has made the program the leader of a group. All of it gets the signal: a bubblewrap that is stopped while it still sets
 * up its sandbox would leave the process inside waiting for ever.
 */
function killGroup({ pid }: ChildProcess, signal: NodeJS.Signals): void {
  try {
    if (pid !== undefined) process.kill(-pid, signal);
  } catch {
    // All of it is gone already.
  }
}

/** A process that hangs in the kernel can't be ended: it must not keep us from going on, nor from exiting. */
function abandon(child: ChildProcess, resolve: (nothing: undefined) => void): void {
  child.stdout?.destroy();
  child.stderr?.destroy();
  child.unref();
  resolve(undefined);
}

/** The last bytes of a stream, however much it gives. */
class Tail {
  readonly #bytesMax: number;
  #chunks: Buffer[] = [];
  #sizeBytes = 0;

  constructor(stream: Readable, bytesMax: number) {
    this.#bytesMax = bytesMax;
    stream.on("data", (chunk: Buffer) => this.#add(chunk));
  }

  text(): string {
    return Buffer.concat(this.#chunks).subarray(-this.#bytesMax).toString("utf8");
  }

  #add(chunk: Buffer): void {
    this.#chunks.push(chunk);
    this.#sizeBytes += chunk.length;
    while (this.#sizeBytes - (this.#chunks[0]?.length ?? 0) >= this.#bytesMax) {
      this.#sizeBytes -= this.#chunks.shift()?.length ?? 0;
    }
  }
}

/** A line longer than any that we read is cut: what follows counts as a new line. */
const LINE_LENGTH_MAX = 64 * KiB;

function eachLine(stream: Readable, onLine: (line: string) => void): void {
  let rest = "";
  stream.on("data", (chunk: Buffer) => {
    const lines = (rest + chunk.toString("utf8")).split(/[\r\n]/);
    rest = lines.pop() ?? "";
    if (rest.length > LINE_LENGTH_MAX) {
      lines.push(rest);
      rest = "";
    }
    for (const line of lines) if (line) onLine(line);
  });
  stream.on("end", () => rest && onLine(rest));
}
