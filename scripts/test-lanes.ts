/**
 * Runs test files two at a time, each in a run of its own, prints what each said when it has ended, and sums it all up in the words of
 * Node's own runner. A test that is skipped is a failure: nothing may hide.
 *
 *     node scripts/test-lanes.ts 'test/real/**\/*.test.ts'
 *
 * Guests of user-mode-linux, which keep one processor busy for minutes, are one lane's first choice, and what uses Ceph is the other's: so there is
 * one of each at a time, and a cluster for each lane. Each takes the longest first, so that both end at about the same time.
 */
import { spawn } from "node:child_process";
import { globSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { MINUTE_MS, SECOND_MS } from "#/lib/units.ts";

const FILE_MS_MAX = 30 * MINUTE_MS;
const COUNTED = ["tests", "suites", "pass", "fail", "cancelled", "skipped", "todo"] as const;
const CLOSING = new RegExp(`^ℹ (?:${COUNTED.join("|")}|duration_ms) `);

/** What takes more than a minute, on two processors and as last measured: only the order matters. */
const SECONDS: Readonly<Record<string, number>> = {
  lvm: 850,
  nfs: 500,
  "lvm-thin": 450,
  "matrix-in-kernel": 330,
  "captures-kill": 240,
  captures: 235,
  rbd: 230,
  "servers-rbd": 200,
  servers: 160,
  matrix: 155,
  kill: 140,
  "rbd-kill": 130,
  "rbd-clones": 115,
  "rbd-flows": 105,
  volumes: 105,
  "vm-libvirt": 100,
  "servers-kill": 100,
  uploads: 95,
  "captures-all-disks": 95,
  "incremental-pools": 75,
  "incremental-images": 70,
  "rbd-failures": 70,
  "file-systems": 65,
};
const SECONDS_OTHERWISE = 40;

type Kind = "kernel" | "plain" | "ceph";

interface Result {
  readonly file: string;
  readonly output: string;
  readonly status: number | null;
  readonly ms: number;
}

const startedMs = performance.now();
const running = new Set<ReturnType<typeof spawn>>();
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.once(signal, () => endAll(signal));

const waiting = globSync(process.argv.slice(2)).map((path) => ({ path, kind: kindOf(path), seconds: SECONDS[basename(path, ".test.ts")] ?? SECONDS_OTHERWISE }));
const results: Result[] = [];
await Promise.all([lane("front", ["kernel", "plain", "ceph"]), lane("back", ["ceph", "plain", "kernel"])]);
sumUp();

function kindOf(path: string): Kind {
  const text = readFileSync(path, "utf8");
  if (text.includes("describeInKernelVm")) return "kernel";
  return /\b(?:sharedCeph|startCeph|startObjectStore)\b/.test(text) ? "ceph" : "plain";
}

/** The longest of those that are left of the first kind that has any. */
function next(kinds: readonly Kind[]): string | undefined {
  waiting.sort((one, other) => kinds.indexOf(one.kind) - kinds.indexOf(other.kind) || other.seconds - one.seconds || (one.path < other.path ? -1 : 1));
  return waiting.shift()?.path;
}

async function lane(name: string, kinds: readonly Kind[]): Promise<void> {
  for (let file = next(kinds); file !== undefined; file = next(kinds)) {
    const result = await runFile(file, name);
    results.push(result);
    print(result);
  }
}

async function runFile(file: string, laneName: string): Promise<Result> {
  const folder = process.env["MICA_TEST_CEPH_DIR"];
  const env = { ...process.env, ...(folder && { MICA_TEST_CEPH_DIR: join(folder, laneName) }) };
  const begunMs = performance.now();
  const args = ["--test", "--test-reporter=spec", `--test-timeout=${FILE_MS_MAX}`, file];
  const child = spawn(process.execPath, args, { env, stdio: ["ignore", "pipe", "pipe"] });
  running.add(child);
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding("utf8").on("data", (text: string) => (output += text));
  const status = await new Promise<number | null>((resolve, reject) => child.once("error", reject).once("close", resolve));
  running.delete(child);
  return { file, output, status, ms: performance.now() - begunMs };
}

/** The runner's closing lines are left out: those of the whole come at the end. */
function print({ file, output, ms }: Result): void {
  const lines = output.split("\n").filter((line) => !CLOSING.test(line));
  process.stdout.write(`${lines.join("\n").trimEnd()}\n— ${file}: ${Math.round(ms / SECOND_MS)} s\n\n`);
}

/** What failed, and why, is told once more where one looks first: at the end. */
function sumUp(): void {
  for (const { file, output } of results) {
    const failures = output.split("✖ failing tests:")[1];
    if (failures) process.stdout.write(`✖ failing tests of ${file}:${failures.trimEnd()}\n\n`);
  }
  const counts = COUNTED.map((word) => `ℹ ${word} ${total(word)}\n`);
  process.stdout.write(`${counts.join("")}ℹ duration_ms ${Math.round(performance.now() - startedMs)}\n`);
  const complaints = results.filter(({ status }) => status !== 0).map(({ file, status }) => `${file} ended with ${status}.`);
  if (total("skipped") + total("todo") > 0) complaints.push("Skipped tests count as failures here: see the lines with # SKIP above.");
  if (total("tests") === 0) complaints.push("No test ran.");
  process.stderr.write(complaints.map((complaint) => `${complaint}\n`).join(""));
  process.exitCode = complaints.length > 0 ? 1 : 0;
}

function total(word: (typeof COUNTED)[number]): number {
  return results.reduce((sum, result) => sum + count(result, word), 0);
}

function count({ output }: Result, word: (typeof COUNTED)[number]): number {
  return Number(new RegExp(`^ℹ ${word} (\\d+)$`, "m").exec(output)?.[1] ?? 0);
}

function endAll(signal: NodeJS.Signals): void {
  for (const child of running) child.kill(signal);
  process.exit(1);
}
