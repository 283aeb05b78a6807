import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { AppError } from "#/domain/errors.ts";
import { GiB, MiB, SECOND_MS } from "#/lib/units.ts";
import { escapeControls, run, ToolFailure } from "#/tools/run.ts";
import { type Confinement, confinedCommand, sandbox } from "#/tools/sandbox.ts";

/** What this machine can't show is skipped by name: containers often refuse namespaces. */
const found = await sandbox();
const noNamespaces = found.kind === "limits" && found.because;

const timeoutMs = 20 * SECOND_MS;
const confine: Confinement = { addressSpaceBytes: GiB, cpuSeconds: 5, readable: [], writable: [] };

describe("run()", () => {
  it("returns what the program printed", async () => {
    const { stdout, stderr } = await run("sh", ["-c", "echo out; echo err >&2"], { timeoutMs });
    assert.deepEqual([stdout, stderr], ["out\n", "err\n"]);
  });

  it("names the command, the exit status and the last of stderr when the program fails", async () => {
    const error = await failureOf(run("sh", ["-c", "echo first >&2; echo last >&2; exit 3"], { timeoutMs }));
    assert.equal(error.code, "tool_failed");
    assert.match(error.message, /^Cannot run "sh -c .*": exit status 3: first; last$/);
    assert.ok(error.cause instanceof ToolFailure && error.cause.exitCode === 3);
  });

  it("names a program that is not installed", async () => {
    const error = await failureOf(run("no-such-program", [], { timeoutMs }));
    assert.equal(error.code, "tool_failed");
    assert.match(error.message, /no-such-program/);
  });

  it("stops a program at its time limit, also one that ignores SIGTERM", async () => {
    const mark = secondsThatNobodyElseSleeps();
    const stubborn = ["-c", "trap '' TERM; while :; do sleep 0.1; done", mark];
    assert.equal((await failureOf(run("sh", stubborn, { timeoutMs: 100 }))).code, "tool_timed_out");
    assert.ok(!(await isRunning(mark)));
  });

  it("never kills a program that is to be gentle: it gets SIGTERM, and is no longer waited for", async () => {
    const mark = secondsThatNobodyElseSleeps();
    const done = join(tmpdir(), `mica-gentle-${mark}`);
    const critical = ["-c", "trap '' TERM; sleep 5; touch \"$0\"", done];
    assert.equal((await failureOf(run("sh", critical, { timeoutMs: 100, gentle: true }))).code, "tool_timed_out");
    await assert.rejects(readFile(done));
    await until(async () => existsSync(done));
    await rm(done);
  });

  it("stops a program when it is cancelled", async () => {
    for (const options of [{}, { confine }]) {
      const signal = AbortSignal.timeout(100);
      const mark = secondsThatNobodyElseSleeps();
      assert.equal((await failureOf(run("sleep", [mark], { timeoutMs, signal, ...options }))).code, "cancelled");
      assert.ok(!(await isRunning(mark)), "it is gone when run() returns");
    }
  });

  it("leaves nothing of a program that is stopped while it is being started", async () => {
    const mark = secondsThatNobodyElseSleeps();
    const atOnce = Array.from({ length: 24 }, async (_, i) => {
      const stop = new AbortController();
      setTimeout(() => stop.abort(), i);
      const options = { timeoutMs, signal: stop.signal, ...(i % 3 > 0 && { confine }) };
      assert.equal((await failureOf(run("sleep", [mark], options))).code, "cancelled");
    });
    await Promise.all(atOnce);
    assert.ok(!(await isRunning(mark)));
  });

  it("does not start a program that was cancelled before", async () => {
    const error = await failureOf(run("true", [], { timeoutMs, signal: AbortSignal.abort() }));
    assert.equal(error.code, "cancelled");
  });

  it("gives each line as it comes, also those that end with a carriage return", async () => {
    const lines: string[] = [];
    await run("printf", ["a\\rb\\nc"], { timeoutMs, onLine: (line) => lines.push(line) });
    assert.deepEqual(lines, ["a", "b", "c"]);
  });

  it("keeps only the end of a long output", async () => {
    const command = ["-c", "head -c 3000000 /dev/zero | tr '\\0' x; echo end"];
    const { stdout } = await run("sh", command, { timeoutMs, stdoutBytesMax: 1000 });
    assert.equal(stdout.length, 1000);
    assert.ok(stdout.endsWith("xend\n"));
  });

  it("escapes control characters in what the program says", async () => {
    const error = await failureOf(run("sh", ["-c", "printf '\\033[31mred\\007' >&2; exit 1"], { timeoutMs }));
    assert.match(error.message, /\\x1b\[31mred\\x07$/);
    assert.equal(escapeControls("a\u202eb\u009b"), "a\\u202eb\\x9b");
  });

  it("gives the program nothing of our environment", async () => {
    process.env["MICA_ADMIN_PASSWORD_OF_TEST"] = "secret";
    const { stdout } = await run("env", [], { timeoutMs });
    assert.doesNotMatch(stdout, /secret/);
  });

  it("ends the program when we are killed", async () => {
    for (const confined of [false, true]) {
      const mark = secondsThatNobodyElseSleeps();
      const parent = startsAndIsKilled(mark, confined);
      await until(() => isRunning(mark));
      parent.kill("SIGKILL");
      await until(async () => !(await isRunning(mark)));
    }
  });
});

describe("a confined program", () => {
  it("is held to its processor time", async () => {
    const spin = ["-c", "while :; do :; done"];
    const error = await failureOf(run("sh", spin, { timeoutMs, confine: { ...confine, cpuSeconds: 1 } }));
    assert.equal(error.code, "tool_timed_out");
  });

  it("is held to its address space", async () => {
    const hungry = ["if=/usr/bin/env", "bs=400M", "count=1"];
    const small = { ...confine, addressSpaceBytes: 200 * MiB };
    const error = await failureOf(run("dd", hungry, { timeoutMs, confine: small }));
    assert.match(error.message, /memory exhausted/);
  });

  it("sees the files it was given, and no others", { skip: noNamespaces }, async () => {
    await using folder = await temporaryFolder();
    const [shown, hidden] = [join(folder.path, "shown"), join(folder.path, "hidden")];
    await writeFile(shown, "seen");
    await writeFile(hidden, "never");
    const options = { timeoutMs, confine: { ...confine, readable: [shown] } };
    assert.equal((await run("cat", [shown], options)).stdout, "seen");
    assert.match((await failureOf(run("cat", [hidden], options))).message, /No such file/);
    assert.match((await failureOf(run("cat", ["/etc/passwd"], options))).message, /No such file/);
    assert.match((await failureOf(run("sh", ["-c", `echo x > ${shown}`], options))).message, /Read-only/);
  });

  it("has no network", { skip: noNamespaces }, async () => {
    const { stdout } = await run("sh", ["-c", "cat /proc/net/dev 2>/dev/null; ls /sys/class/net 2>/dev/null; :"], { timeoutMs, confine });
    assert.equal(stdout, "");
  });
});

describe("confinedCommand()", () => {
  const paths = { ...confine, readable: ["/a", "/b"], writable: ["/b"] };

  it("shows only the named paths, each once", () => {
    const command = confinedCommand({ kind: "namespaces" }, ["tool", "x"], { confine: paths }).join(" ");
    assert.match(command, /^prlimit --as=1073741824 --cpu=5:7 --core=0 -- bwrap --unshare-all --die-with-parent /);
    assert.match(command, / --ro-bind \/a \/a --bind \/b \/b -- tool x$/);
  });

  it("lets a device be used as one, and a file beside the devices only be read", () => {
    const readable = ["/dev/mapper/vg-disk", "/dev/shm/file"];
    const command = confinedCommand({ kind: "namespaces" }, ["tool"], { confine: { ...confine, readable } }).join(" ");
    assert.match(command, / --dev-bind \/dev\/mapper\/vg-disk \/dev\/mapper\/vg-disk --ro-bind \/dev\/shm\/file \/dev\/shm\/file -- tool$/);
  });

  it("keeps the limits where namespaces are refused, and these hold", async () => {
    const shell = confinedCommand({ kind: "limits" }, ["sh", "-c", "ulimit -v; ulimit -t; ulimit -c"], { confine });
    const [file, ...rest] = shell as [string, ...string[]];
    assert.equal(execFileSync(file, rest, { encoding: "utf8" }), "1048576\n5\n0\n");
  });

  it("is started by setpriv and prlimit where namespaces are refused", () => {
    const command = confinedCommand({ kind: "limits" }, ["tool"], { confine: paths }).join(" ");
    assert.equal(command, "setpriv --pdeathsig KILL --no-new-privs -- prlimit --as=1073741824 --cpu=5:7 --core=0 -- tool");
  });
});

async function failureOf(work: Promise<unknown>): Promise<AppError> {
  const error = await work.then(
    () => undefined,
    (error: unknown) => error,
  );
  assert.ok(error instanceof AppError, `it failed: ${error}`);
  return error;
}

/** A process of our own that runs `sleep` and can be killed. */
function startsAndIsKilled(mark: string, confined: boolean) {
  const script = `
    const { run } = await import("#/tools/run.ts");
    await run("sleep", [process.env.SECONDS], { timeoutMs: 1e6, ${confined ? `confine: ${JSON.stringify(confine)}` : ""} });`;
  const env = { ...process.env, SECONDS: mark };
  return spawn(process.execPath, ["--input-type=module", "-e", script], { cwd: join(import.meta.dirname, "../.."), env, stdio: "inherit" });
}

function secondsThatNobodyElseSleeps(): string {
  return `1000.${parseInt(randomUUID().slice(0, 8), 16)}`;
}

async function isRunning(mark: string): Promise<boolean> {
  for (const pid of await readdir("/proc")) {
    if (!/^\d+$/.test(pid)) continue;
    const command = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");
    if (command.includes(mark)) return true;
  }
  return false;
}

async function until(condition: () => Promise<boolean>): Promise<void> {
  const limitMs = performance.now() + 10 * SECOND_MS;
  while (!(await condition())) {
    assert.ok(performance.now() < limitMs, "the condition came true in time");
    await sleep(20);
  }
}

async function temporaryFolder() {
  const path = await mkdtemp(join(tmpdir(), "mica-run-"));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true }) };
}
