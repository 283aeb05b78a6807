/**
 * The `mica` command against a real Mica: the contract that README.md gives to those who automate it. What is about processes runs
 * in one of its own; the other commands run in this one, since a start of Node each would make the test slow.
 */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { after, before, describe, it } from "node:test";
import type { Handlers } from "#/cli/local.ts";
import { runCli } from "#/cli/program.ts";
import { Terminal } from "#/cli/terminal.ts";
import { ADMIN_PASSWORD, MicaProcess } from "./support/mica-process.ts";

const MICA = resolve("bin/mica");
const STRANGER = "4f6b0c3e-9d3b-4f0e-8a53-9d6f1f1f0a10";

let folder: string;
let dataDir: string;
let server: MicaProcess;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "mica-command-"));
  dataDir = join(folder, "data");
  server = await MicaProcess.start({ dataDir });
});

after(async () => {
  await server.stop();
  await rm(folder, { recursive: true, force: true });
});

describe("mica serve", () => {
  it("answers GET /identity/v3 without a token, and lets the admin in with the given password", async () => {
    const response = await fetch(`${server.url}/identity/v3`);
    const { version } = (await response.json()) as { version: { id: string } };
    assert.deepEqual([response.status, version.id.startsWith("v3")], [200, true]);
    assert.ok(await server.token());
  });

  it("says where it is and where the password is, and never the password", () => {
    assert.ok(server.output.includes(server.url));
    assert.ok(server.output.includes(join(dataDir, "clouds.yaml")));
    assert.ok(!server.output.includes(ADMIN_PASSWORD));
  });

  it("lets nobody else read the password", async () => {
    assert.equal((await stat(join(dataDir, "clouds.yaml"))).mode & 0o077, 0);
    assert.equal((await stat(dataDir)).mode & 0o077, 0);
  });

  it("refuses a data folder that another one serves", async () => {
    const { code, stderr } = await start(MICA, "serve", "--data-dir", dataDir, "--listen", "127.0.0.1:0");
    assert.equal(code, 1);
    assert.match(stderr, /Another process serves this data folder/);
  });

  it("refuses a wrong configuration before anything is made", async () => {
    const elsewhere = join(folder, "elsewhere");
    const { code, stderr } = await start(MICA, "serve", "--data-dir", elsewhere, "--listen", "here");
    assert.equal(code, 2);
    assert.match(stderr, /listen is "here", but must be HOST:PORT/);
    await assert.rejects(stat(elsewhere));
  });

  it("ends cleanly on SIGTERM, and goes on with the same folder at a new address", async () => {
    assert.equal(await server.stop(), 0);
    await server.start();
    const pools = await micaJson<{ name: string; state: string }[]>("pools");
    assert.deepEqual(
      pools.map(({ name, state }) => [name, state]),
      [["local", "up"]],
    );
  });

  it("goes on after kill -9", async () => {
    await server.kill();
    await server.start();
    assert.equal((await mica("pools", "--data-dir", dataDir)).code, 0);
  });
});

describe("mica audit", () => {
  it("says clean while Mica runs", async () => {
    const { code, stdout } = await start(MICA, "audit", "--data-dir", dataDir);
    assert.deepEqual([code, stdout.startsWith("clean")], [0, true]);
  });

  it("leaves with 1 and a line per finding when bytes lie in the pool that nobody knows", async () => {
    const stranger = join(dataDir, "pools", "local", `${STRANGER}.disk`);
    await writeFile(stranger, "whose?");
    const { code, stdout } = await start(MICA, "audit", "--data-dir", dataDir);
    await rm(stranger);
    assert.deepEqual([code, stdout.trimEnd().split("\n").length], [1, 1]);
    assert.ok(stdout.includes(STRANGER));
  });
});

describe("mica's client commands", () => {
  it("make users and projects, who then may do what their roles say", async () => {
    await micaJson("project", "create", "lab");
    const { password } = await micaJson<{ password: string }>("user", "create", "ann", "--project", "lab", "--role", "reader");
    const ann = { OS_AUTH_URL: `${server.url}/identity`, OS_USERNAME: "ann", OS_PASSWORD: password, OS_PROJECT_NAME: "lab" };
    assert.equal((await micaAs(ann, "pools")).code, 0);
    const refused = await micaAs(ann, "project", "create", "other");
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, /→/);
    await micaJson("role", "revoke", "reader", "--user", "ann", "--project", "lab");
    assert.equal((await micaAs(ann, "pools")).code, 3);
    await micaJson("user", "delete", "ann");
    await micaJson("project", "delete", "lab");
    const users = await micaJson<{ name: string }[]>("user", "list");
    assert.deepEqual(
      users.map(({ name }) => name),
      ["admin"],
    );
  });

  it("explain how a volume would be made, without making it", async () => {
    const plan = await micaJson<{ strategy: string; bytes: { written: number } }>("plan", "blank", "volume", "--size", "1");
    assert.deepEqual([plan.strategy, plan.bytes.written], ["blank", 0]);
    assert.deepEqual((await micaJson<{ operations: unknown[] }>("operations", "list")).operations, []);
  });

  it("follow an operation to its end, and show what it did", async () => {
    const { volume } = await server.json("POST", "/volume/v3/volumes", { body: { volume: { size: 1 } } });
    const followed = await mica("operations", "follow", "--data-dir", dataDir);
    assert.equal(followed.code, 0);
    assert.match(followed.stdout, new RegExp(`create-volume for volume ${volume.id}[\\s\\S]*blank`));
    const { operations } = await micaJson<{ operations: { id: string; state: string }[] }>("operations", "list", "--subject", volume.id);
    assert.deepEqual(
      operations.map(({ state }) => state),
      ["done"],
    );
    const late = await mica("operations", "cancel", operations[0]?.id ?? "", "--data-dir", dataDir);
    assert.equal(late.code, 1);
    assert.match(late.stderr, /has ended already/);
  });

  it("show where a volume holds data, and what has changed since a snapshot", async () => {
    const { volume } = await server.json("POST", "/volume/v3/volumes", { body: { volume: { size: 1, name: "mapped" } } });
    assert.equal((await mica("operations", "follow", "--data-dir", dataDir)).code, 0);
    const { snapshot } = await server.json("POST", "/volume/v3/snapshots", { body: { snapshot: { volume_id: volume.id, name: "monday" } } });
    assert.equal((await mica("operations", "follow", "--data-dir", dataDir)).code, 0);
    const extents = await mica("extents", "volume:mapped", "--list", "--data-dir", dataDir);
    assert.equal(extents.code, 0, extents.stderr);
    assert.match(extents.stdout, new RegExp(`Volume +${volume.id}\nSize +1 GiB\nData +0 B \\(0 %\\) in 0 parts\n[\\s\\S]*\\|·{64}\\|`));
    const changes = await mica("changes", "volume:mapped", "--since", "snapshot:monday", "--data-dir", dataDir);
    assert.match(changes.stdout, /Changed +0 B \(0 %\) in 0 parts[\s\S]*█ changed, · the same/);
    const [page] = await micaJson<{ since: object; changedBytes: number }[]>("changes", "volume:mapped", "--since", `snapshot:${snapshot.id}`);
    assert.deepEqual([page?.since, page?.changedBytes], [{ kind: "snapshot", id: snapshot.id }, 0]);
    assert.equal((await mica("changes", "volume:mapped", "--since", "yesterday", "--data-dir", dataDir)).code, 2);
  });

  it("say what was not found, and leave with 1", async () => {
    const { code, stderr } = await mica("plan", "image:nothing", "volume", "--data-dir", dataDir);
    assert.equal(code, 1);
    assert.match(stderr, /nothing[\s\S]*→/);
  });

  it("put the cloud into the clouds.yaml that others use", async () => {
    const path = join(folder, "config", "clouds.yaml");
    assert.equal((await mica("clouds", "--data-dir", dataDir, "--write", path)).code, 0);
    assert.ok((await readFile(path, "utf8")).includes(server.url));
    assert.equal((await micaAs({ OS_CLIENT_CONFIG_FILE: path }, "pools")).code, 0);
  });

  it("work through a symbolic link, from anywhere", async () => {
    const link = join(folder, "mica");
    await symlink(MICA, link);
    assert.equal((await start(link, "config")).code, 0);
  });
});

interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** In a process of its own, in another folder. */
function start(program: string, ...args: string[]): Promise<Ran> {
  return new Promise((done) => {
    execFile(program, args, { cwd: "/", timeout: 60_000 }, (error, stdout, stderr) =>
      done({ code: error ? Number(error.code ?? -1) : 0, stdout, stderr }),
    );
  });
}

/** In this process: the commands that only speak HTTP. */
async function mica(...args: string[]): Promise<Ran> {
  const [out, err]: [string[], string[]] = [[], []];
  const terminal = new Terminal({ write: (text) => out.push(text) }, { write: (text) => err.push(text) }, {});
  const code = await runCli(args, NO_HANDLERS, terminal);
  return { code, stdout: out.join(""), stderr: err.join("") };
}

const notHere = async () => Promise.reject(new Error("Only a process of its own serves and audits."));
const NO_HANDLERS: Handlers = { serve: notHere, worker: notHere, audit: notHere };

/** As the admin of the clouds.yaml in the data folder. */
async function micaJson<Answer>(...args: string[]): Promise<Answer> {
  const { code, stdout, stderr } = await mica(...args, "--data-dir", dataDir, "--json");
  assert.equal(code, 0, stderr);
  return JSON.parse(stdout) as Answer;
}

/** As somebody else, by the variables that clients look at. */
async function micaAs(env: Readonly<Record<string, string>>, ...args: string[]): Promise<Ran> {
  const before = { ...process.env };
  Object.assign(process.env, env);
  try {
    return await mica(...args);
  } finally {
    process.env = before;
  }
}
