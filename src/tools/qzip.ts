import { spawn } from "node:child_process";
import { access, readdir } from "node:fs/promises";
import { join } from "node:path";
import type { Writable } from "node:stream";
import { AppError } from "#/domain/errors.ts";
import { escapeControls } from "#/tools/run.ts";
import { confinedCommand } from "#/tools/sandbox.ts";

/** An Intel QuickAssist device that the kernel drives: the PCI address, and the program that uses it. */
export interface Qat {
  readonly device: string;
}

/** Linux' drivers of QuickAssist (drivers/crypto/intel/qat). */
const DRIVERS = ["4xxx", "420xx", "c6xx", "c62x", "c3xxx", "c3xxxvf", "c6xxvf", "4xxxvf", "dh895xcc", "dh895xccvf"];
const PROGRAM_FOLDERS = ["/usr/local/bin", "/usr/bin"];

/**
 * Where `qzip` is installed and has hardware to work with; Cinder only asks for the program, which without hardware is one slow
 * thread of zlib. `sysfs` and `programs` are where to look.
 */
export async function findQat({ sysfs = "/sys", programs = PROGRAM_FOLDERS } = {}): Promise<Qat | undefined> {
  const installed = await Promise.all(programs.map((folder) => exists(join(folder, "qzip"))));
  if (!installed.includes(true)) return undefined;
  for (const driver of DRIVERS) {
    const bound = await readdir(join(sysfs, "bus/pci/drivers", driver)).catch(() => []);
    const device = bound.find((name) => /^[0-9a-f]{4}:/.test(name));
    if (device !== undefined) return { device };
  }
  return undefined;
}

/** gzip by QuickAssist: without file names `qzip` is a filter. */
export function compressByQat(content: AsyncIterable<Uint8Array>, signal?: AbortSignal): AsyncIterable<Uint8Array> {
  return filter(["qzip"], content, signal);
}

/**
 * What a program that reads stdin and writes stdout makes of the content, as it comes. The program ends with the reader, and
 * with us. Errors: `tool_failed`, `cancelled`, and those of the content.
 */
export async function* filter(command: readonly string[], content: AsyncIterable<Uint8Array>, signal?: AbortSignal): AsyncIterable<Uint8Array> {
  if (signal?.aborted) throw new AppError("cancelled", `Cancelled before ${command[0]} began.`);
  const [file, ...rest] = confinedCommand({ kind: "limits" }, command);
  const child = spawn(file as string, rest, { cwd: "/", env: { PATH: PROGRAM_FOLDERS.join(":"), LC_ALL: "C.UTF-8" } });
  const ended = Promise.withResolvers<string | undefined>();
  child.once("error", ({ message }) => ended.resolve(message));
  child.once("close", (code, killedBy) => ended.resolve(code === 0 ? undefined : `it ended with ${killedBy ?? `exit status ${code}`}`));
  let said = "";
  child.stderr.on("data", (chunk: Buffer) => (said = (said + chunk.toString("utf8")).slice(-4096)));
  const stop = () => child.kill("SIGKILL");
  signal?.addEventListener("abort", stop);
  let failure: unknown;
  const fed = feed(child.stdin, content).catch((error: unknown) => {
    failure = error;
    stop();
  });
  try {
    yield* child.stdout as AsyncIterable<Buffer>;
    const trouble = await ended.promise;
    await fed;
    if (signal?.aborted) throw new AppError("cancelled", `Cancelled while ${command[0]} was at work.`);
    if (failure !== undefined && (failure as NodeJS.ErrnoException).code !== "EPIPE") throw failure;
    if (trouble !== undefined) throw new AppError("tool_failed", `Cannot run "${command.join(" ")}": ${trouble}${said && `: ${escapeControls(said.trim())}`}`);
  } finally {
    signal?.removeEventListener("abort", stop);
    stop();
    await Promise.all([fed, ended.promise]);
  }
}

/** Waits until the program has taken each chunk, whose memory is used again. */
async function feed(stdin: Writable, content: AsyncIterable<Uint8Array>): Promise<void> {
  const broken = Promise.withResolvers<never>();
  broken.promise.catch(() => {});
  stdin.on("error", broken.reject);
  for await (const chunk of content) {
    await Promise.race([broken.promise, new Promise<void>((resolve, reject) => stdin.write(chunk, (error) => (error ? reject(error) : resolve())))]);
  }
  stdin.end();
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
