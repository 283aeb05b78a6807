import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { Semaphore } from "#/lib/semaphore.ts";
import { type Outcome, RECORD_START } from "./event-reporter.ts";

const SCRIPT = join(import.meta.dirname, "kernel-vm.sh");
const REPORTER = join(import.meta.dirname, "event-reporter.ts");

export interface KernelVmOptions {
  /** Sizes of the guest's empty disks, as truncate(1) writes them; their names are in `KERNEL_VM_DISKS`. */
  readonly disks?: readonly string[];
  /** As `1G`. */
  readonly memory?: string;
  readonly timeLimitSeconds?: number;
}

/**
 * Runs a test file in a kernel of its own (`kernel-vm.sh`) and tells of each of its tests as if it had run here: the same names
 * and failures. One test more says that the run as a whole ended well, with all of its output where it did not. Guests beyond the
 * processors that are there for them wait for each other.
 */
export async function describeInKernelVm(name: string, file: string, options: KernelVmOptions = {}): Promise<void> {
  const { status, output } = await runTests(file, options);
  const outcomes = outcomesIn(output);
  const rest = output.split("\n").filter((line) => line !== "" && !line.startsWith(RECORD_START)).join("\n");
  describe(`${name}, in a kernel of its own`, () => {
    for (const outcome of outcomes) it(outcome.path.join(": "), () => assertPassed(outcome));
    it("ends well, and has run tests", () => assert.ok(status === 0 && outcomes.length > 0, `it ended with ${status}:\n${rest}`));
  });
}

/** A guest keeps one processor busy; another is for the tests that run at the same time. */
const processors = new Semaphore(Math.max(1, availableParallelism() - 1));

async function runTests(file: string, options: KernelVmOptions): Promise<{ status: number | null; output: string }> {
  using _processor = await processors.take();
  const { disks = [], memory = "1G", timeLimitSeconds = 300 } = options;
  const flags = ["-m", memory, "-t", String(timeLimitSeconds), ...disks.flatMap((size) => ["-d", size]), ...compileCache()];
  const command = [process.execPath, `--test-reporter=${REPORTER}`, "--test-reporter-destination=stdout", file];
  const child = spawn(SCRIPT, [...flags, "--", ...command], { stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding("utf8").on("data", (text: string) => (output += text));
  const end = () => child.kill("SIGTERM");
  process.once("exit", end);
  const status = await new Promise<number | null>((resolve, reject) => child.once("error", reject).once("close", resolve));
  process.off("exit", end);
  return { status, output };
}

/** Compiled code is kept between guests too: Node and Mica start in half the time. */
function compileCache(): string[] {
  const folder = process.env["NODE_COMPILE_CACHE"];
  return folder ? ["-w", folder, "-e", `NODE_COMPILE_CACHE=${folder}`] : [];
}

function outcomesIn(output: string): Outcome[] {
  const records = output.split("\n").filter((line) => line.startsWith(RECORD_START));
  return records.map((line) => JSON.parse(line.slice(RECORD_START.length)) as Outcome);
}

function assertPassed({ failure, skipped }: Outcome): void {
  if (failure !== undefined) throw Object.assign(new Error("it failed in the guest"), { stack: failure });
  assert.ok(!skipped, "it was skipped, and what a test names must run");
}
