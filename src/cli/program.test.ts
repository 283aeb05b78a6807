import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { LoadedConfig } from "#/config/load.ts";
import { AppError } from "#/domain/errors.ts";
import type { Finding, Handlers } from "./local.ts";
import { runCli } from "./program.ts";
import { Terminal } from "./terminal.ts";

const FINDING: Finding = { kind: "orphan", subject: "disk 7f", message: "no record has it", fix: "Remove it." };

async function run(line: string, handlers: Partial<Handlers> = {}) {
  const out: string[] = [];
  const err: string[] = [];
  const terminal = new Terminal({ write: (text) => out.push(text) }, { write: (text) => err.push(text) }, {});
  const all: Handlers = { serve: async () => {}, worker: async () => {}, audit: async () => [], ...handlers };
  const code = await runCli(line.split(" ").filter(Boolean), all, terminal);
  return { code, out: out.join(""), err: err.join("") };
}

describe("mica", () => {
  it("shows its help when asked nothing, with the exit codes", async () => {
    const { code, out, err } = await run("--help");
    assert.equal(code, 0);
    assert.match(out, /serve[\s\S]*demo[\s\S]*plan[\s\S]*operations[\s\S]*pools[\s\S]*audit[\s\S]*config/);
    assert.match(out, /Exit codes:/);
    assert.equal(err, "");
    assert.equal((await run("")).code, 0);
  });

  it("takes a wrong command line with 2, and says what is wrong with it", async () => {
    const cases = {
      fly: /unknown command 'fly'/,
      "serve --liten x": /unknown option '--liten'/,
      "plan nonsense volume": /must be image:ID/,
      "plan image:x server": /must be volume or image/,
    };
    for (const [line, words] of Object.entries(cases)) {
      const { code, err } = await run(line);
      assert.equal(code, 2, line);
      assert.match(err, words);
    }
  });

  it("takes a wrong configuration with 2, and names the option", async () => {
    const { code, err } = await run("serve --listen nowhere");
    assert.equal(code, 2);
    assert.match(err, /listen is "nowhere", but must be HOST:PORT.*the flag --listen/s);
  });

  it("gives serve the configuration that the flags make", async () => {
    let seen: LoadedConfig | undefined;
    await run("serve --data-dir /data --listen [::1]:0 --quotas-volumes 3 --enable-force-upload true", {
      serve: async (loaded) => void (seen = loaded),
    });
    assert.deepEqual(
      [seen?.config.dataDir, seen?.config.listen, seen?.config.quotas.volumes, seen?.config.enableForceUpload],
      ["/data", "[::1]:0", 3, true],
    );
  });

  it("shows what the options of worker are to a worker, without the marks of documents", async () => {
    const { code, out } = await run("worker --help");
    assert.equal(code, 0);
    assert.match(out, /--listen <value> +Where mica worker takes calls/);
    assert.doesNotMatch(out, /`|own flag|database|operation/);
  });

  it("gives worker its addresses and certificates by short flags", async () => {
    let seen: LoadedConfig | undefined;
    const worker = async (loaded: LoadedConfig) => void (seen = loaded);
    await run("worker --data-dir /data --listen [::1]:1 --listen-nbd [::1]:2", { worker });
    assert.deepEqual(seen?.config.worker, { listen: "[::1]:1", listenNbd: "[::1]:2", tlsDir: "/data/tls" });
    await run("worker --tls-dir /keys", { worker });
    assert.equal(seen?.config.worker.tlsDir, "/keys");
    assert.equal((await run("worker --listen nowhere", { worker })).code, 2);
  });

  it("leaves a refusal with 1 and a defect with 70", async () => {
    const fail = (error: Error) => async () => Promise.reject(error);
    const refusal = await run("serve", { serve: fail(new AppError("pool_unavailable", "The pool is away.")) });
    assert.deepEqual([refusal.code, /The pool is away\.\n {2}→ /.test(refusal.err)], [1, true]);
    const defect = await run("serve", { serve: fail(new TypeError("x is not a function")) });
    assert.deepEqual([defect.code, /a defect: TypeError: x is not a function/.test(defect.err)], [70, true]);
  });

  it("leaves with 3 where no Mica answers", async () => {
    process.env.OS_AUTH_URL = "http://127.0.0.1:1/identity/v3";
    try {
      const { code, err } = await run("pools");
      assert.equal(code, 3);
      assert.match(err, /Cannot log in at http:\/\/127\.0\.0\.1:1.*\n {2}→ Start Mica/);
    } finally {
      delete process.env.OS_AUTH_URL;
    }
  });
});

describe("mica audit", () => {
  it("says clean and leaves with 0 where nothing is amiss", async () => {
    const { code, out } = await run("audit --data-dir /data");
    assert.deepEqual([code, out.startsWith("clean")], [0, true]);
  });

  it("leaves with 1 and a line per finding else", async () => {
    const { code, out } = await run("audit", { audit: async () => [FINDING, FINDING] });
    assert.deepEqual([code, out], [1, "orphan  disk 7f  no record has it  → Remove it.\n".repeat(2)]);
  });

  it("gives the findings as JSON too", async () => {
    const { code, out } = await run("audit --json", { audit: async () => [FINDING] });
    assert.deepEqual([code, JSON.parse(out)], [1, { findings: [FINDING] }]);
  });
});

describe("mica config", () => {
  it("prints what is in force and where it comes from, without secrets", async () => {
    process.env.MICA_ADMIN_PASSWORD = "geheim";
    try {
      const { out } = await run("config --data-dir /data --availability-zone lab");
      assert.match(out, /^dataDir +flag +\/data$/m);
      assert.match(out, /^availabilityZone +flag +lab$/m);
      assert.match(out, /^listen +default +127\.0\.0\.1:6422$/m);
      assert.match(out, /^adminPassword +environment +\(secret\)$/m);
      assert.doesNotMatch(out, /geheim/);
    } finally {
      delete process.env.MICA_ADMIN_PASSWORD;
    }
  });
});
