/**
 * The keepers of the tree: cheap facts that a reader relies on and a reviewer would tire of. A message says which file
 * breaks the rule, and the rule's comment says why it is one.
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, globSync, readFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { describe, it } from "node:test";
import { OPTIONS, type OptionSchema } from "#/config/options.ts";
import { POOL_ROLES, POOL_SCHEMA } from "#/config/schema.ts";
import { DISK_FORMATS, DISK_STATES, HOLDER_KINDS } from "#/domain/disk.ts";
import { ERRORS } from "#/domain/errors.ts";
import { STRATEGIES } from "#/planner/plan.ts";
import { MADE_DOCS } from "../scripts/docs.ts";

/**
 * Which folders of src/ each folder may import, beside itself, `lib` and `domain`; "(types)" where only types may
 * cross. A line here is a decision: docs/ARCHITECTURE.md says why. The files right in src/ build things, and may import all.
 */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  api: ["app", "config", "db (types)"],
  app: ["planner", "saga", "storage", "vm", "db", "transfer", "format", "config"],
  cli: ["client", "config"],
  client: ["api (types)"],
  config: [],
  db: [],
  domain: [],
  format: [],
  lib: [],
  planner: ["storage (types)"],
  saga: ["saga/engine", "storage", "vm", "transfer", "db", "format", "planner (types)"],
  "saga/engine": [],
  storage: ["tools", "format", "config (types)"],
  tools: [],
  transfer: ["format", "tools", "storage"],
  vm: ["tools", "config (types)"],
};

const BUILDERS = ["main.ts", "serve.ts", "worker.ts", "foreground.ts"];

const LINES_MAX = 450;

interface Source {
  readonly path: string;
  readonly text: string;
}
const read = (pattern: string | string[]): Source[] => globSync(pattern).map((path) => ({ path, text: readFileSync(path, "utf8") }));

/** Code that runs only in tests may know more than the layers do. */
const isForTests = ({ path }: Source) => /\.test\.ts$|\/contract(\.ts$|\/)|\/test-[\w-]+\.ts$/.test(path);
const sources = read("src/**/*.ts");
const production = sources.filter((source) => !isForTests(source));
const everything = read(["src/**/*.ts", "test/**/*.ts", "scripts/**/*.ts", "bench/**/*.ts"]);
const paths = (found: readonly Source[]) => found.map(({ path }) => path);

describe("layers", () => {
  it("each folder imports only what MAY_IMPORT lets it", () => {
    assert.deepEqual(production.flatMap(forbiddenImports), [], "Move the code to the layer it belongs to, or decide anew in MAY_IMPORT.");
  });

  it("no files of src/ import each other in a circle, not even types", () => {
    assert.deepEqual(circles(new Map(sources.map(({ path, text }) => [path, filesImportedBy(path, text)]))), [], "Put what they share into a file of its own.");
  });

  it("each folder of src/ has its line in MAY_IMPORT", () => {
    const folders = new Set(production.map(({ path }) => layerOf(path.slice("src/".length))));
    assert.deepEqual(
      [...folders].filter((folder) => !(folder in MAY_IMPORT) && !BUILDERS.includes(folder)),
      [],
    );
  });

  it("domain, planner, format and the saga engine do no I/O and know no clock and no chance", () => {
    const pure = /^src\/(domain|planner|format|saga\/engine)\//;
    const impure = /from "node:|\bDate\.now\(|\bnew Date\(\)|Math\.random\(|\bperformance\.now\(|\bsetTimeout\(|\bprocess\./;
    assert.deepEqual(paths(production.filter(({ path, text }) => pure.test(path) && impure.test(text))), []);
  });

  it("the planner knows a driver's capabilities, and never a driver", () => {
    assert.deepEqual(
      paths(production.filter(({ path, text }) => path.startsWith("src/planner/") && /#\/storage\/(?!driver\.ts)/.test(text))),
      [],
    );
  });
});

/** "src/a/b.ts imports c" for each import that the table forbids. */
function forbiddenImports({ path, text }: Source): string[] {
  const folder = layerOf(path.slice("src/".length));
  if (BUILDERS.includes(folder)) return [];
  return importsOf(text)
    .filter(({ target, typesOnly }) => {
      if ([folder, "lib", "domain"].includes(target)) return false;
      const allowed = MAY_IMPORT[folder] ?? [];
      return !allowed.includes(target) && !(typesOnly && allowed.includes(`${target} (types)`));
    })
    .map(({ target, typesOnly }) => `${path} imports ${typesOnly ? "types of " : ""}${target}`);
}

function importsOf(text: string): { target: string; typesOnly: boolean }[] {
  const statements = [
    ...text.matchAll(/^(?:import|export)\s+(type\s)?([^;"]*?)from "#\/([^"]+)"/gm),
    ...text.matchAll(/()()\bimport\("#\/([^"]+)"\)/g),
  ];
  return statements.map(([, type, names = "", target = ""]) => ({ target: layerOf(target), typesOnly: Boolean(type) || onlyTypes(names) }));
}

function filesImportedBy(path: string, text: string): string[] {
  const names = [...text.matchAll(/^(?:import|export)\s[^;"]*?from "(#\/|\.\.?\/)([^"]+)"/gm)];
  return names.map(([, root = "", name = ""]) => (root === "#/" ? `src/${name}` : join(dirname(path), root, name)));
}

/** The first file of each circle, with the way round: "a → b → a". */
function circles(imports: ReadonlyMap<string, readonly string[]>): string[] {
  const found: string[] = [];
  const done = new Set<string>();
  const visit = (path: string, way: readonly string[]) => {
    const met = way.indexOf(path);
    if (met !== -1) found.push([...way.slice(met), path].join(" → "));
    if (met !== -1 || done.has(path)) return;
    for (const imported of imports.get(path) ?? []) visit(imported, [...way, path]);
    done.add(path);
  };
  for (const path of imports.keys()) visit(path, []);
  return found;
}

/** `{ type A, type B }`. */
function onlyTypes(names: string): boolean {
  const listed = names
    .replaceAll(/[{}]/g, "")
    .split(",")
    .map((name) => name.trim())
    .filter(Boolean);
  return listed.length > 0 && listed.every((name) => name.startsWith("type "));
}

function layerOf(path: string): string {
  return path.startsWith("saga/engine/") ? "saga/engine" : (path.split("/")[0] ?? "");
}

describe("contracts", () => {
  it("every storage driver runs the driver contract, in the test beside it or, where that takes a real part, in test/real", () => {
    const real = read("test/real/**/*.ts").map(({ text }) => text).filter((text) => text.includes("storageDriverContract("));
    const isRunFor = (path: string) => testBeside(path).includes("storageDriverContract(") || real.some((text) => text.includes(path.replace("src/", "#/")));

    const drivers = production.filter(({ path }) => /^src\/storage\/(?!wrap\/)[\w-]+\/driver\.ts$/.test(path));
    assert.ok(drivers.length > 0);
    assert.deepEqual(paths(drivers.filter(({ path }) => !isRunFor(path))), []);
  });

  it("every hypervisor driver runs the driver contract under its name, beside it or, where that takes a real part, in test/real", () => {
    const tests = read(["src/vm/**/*.test.ts", "test/real/**/*.test.ts"]).map(({ text }) => text).join("\n");
    const names = production.flatMap(({ text }) => [...text.matchAll(/^export class (\w+) implements HypervisorDriver/gm)].map(([, name]) => name));
    assert.ok(names.length > 0);
    assert.deepEqual(names.filter((name) => !tests.includes(`hypervisorContract("${name}"`)), []);
  });

  it("every saga runs the saga contract in the test beside it, and is known to the runner", () => {
    const registered = readFileSync("src/saga/sagas.ts", "utf8");
    const sagas = production.flatMap(({ path, text }) =>
      [...text.matchAll(/^export const (\w+): Saga</gm)].map(([, name = ""]) => ({ path, name })),
    );
    assert.ok(sagas.length > 0);
    assert.deepEqual(
      sagas.filter(({ path }) => !testBeside(path).includes("sagaContract(")).map(({ path }) => path),
      [],
    );
    assert.deepEqual(
      sagas.filter(({ name }) => !new RegExp(`\\b${name}\\b`).test(registered)).map(({ name }) => name),
      [],
    );
  });
});

function testBeside(path: string): string {
  const test = path.replace(/\.ts$/, ".test.ts");
  return existsSync(test) ? readFileSync(test, "utf8") : "";
}

describe("tables", () => {
  it("the documents that are made from the code are current", () => {
    for (const [path, make] of Object.entries(MADE_DOCS)) {
      assert.equal(existsSync(path) ? readFileSync(path, "utf8") : "", make(), `${path} is not what the code says: run \`make docs\`.`);
    }
  });

  it("every error code is used by somebody", () => {
    const text = production
      .filter(({ path }) => path !== "src/domain/errors.ts")
      .map(({ text }) => text)
      .join("\n");
    assert.deepEqual(
      Object.keys(ERRORS).filter((code) => !text.includes(`"${code}"`)),
      [],
    );
  });

  it("every option is read by somebody", () => {
    const text = production
      .filter(({ path }) => !path.startsWith("src/config/"))
      .map(({ text }) => text)
      .join("\n");
    const names = [...OPTIONS.map(({ key }) => key.split(".").at(-1) ?? ""), ...poolKeys(POOL_SCHEMA as OptionSchema)];
    assert.deepEqual(
      names.filter((name) => !new RegExp(`\\b${name}\\b`).test(text)),
      [],
    );
  });

  it("the glossary has every word of the domain's tables", () => {
    const glossary = readFileSync("docs/GLOSSARY.md", "utf8");
    const words = [...STRATEGIES, ...HOLDER_KINDS, ...DISK_STATES, ...DISK_FORMATS, ...POOL_ROLES];
    assert.deepEqual(
      words.filter((word) => !new RegExp(`\\b${word}\\b`).test(glossary)),
      [],
    );
  });
});

describe("files", () => {
  it("say in their name what is in them: no barrels, no drawers", () => {
    const drawers = /^(index|utils?|helpers?|types|misc|common)\.ts$/;
    assert.deepEqual(paths(everything.filter(({ path }) => drawers.test(basename(path)))), []);
    assert.deepEqual(paths(everything.filter(({ text }) => /^export (\*|(type )?\{[^}]*\}) from/m.test(text))), []);
  });

  it(`are short enough to be read at once: at most ${LINES_MAX} lines`, () => {
    const long = everything.filter(({ text }) => text.split("\n").length > LINES_MAX);
    assert.deepEqual(paths(long), []);
  });

  it("leave nothing for later, and skip no test", () => {
    const banned = new RegExp(
      ["TO" + "DO", "FIX" + "ME", "XX" + "X", "@ts-" + "ignore", "\\.(ski" + "p|on" + "ly|to" + "do)\\(", "as " + "any[;,)\\]]"].join("|"),
    );
    assert.deepEqual(paths(everything.filter(({ text }) => banned.test(text))), []);
  });

  it("speak of Mica, and not of the machine that they were written on", () => {
    const places = new RegExp(["/wo" + "rk/(main|shared)", "/tm" + "p/w/", "(?<!\\w)/ro" + "ot/"].join("|"));
    const tracked = execFileSync("git", ["ls-files"], { encoding: "utf8" })
      .split("\n")
      .filter(Boolean)
      .filter((path) => existsSync(path));
    assert.deepEqual(
      tracked.filter((path) => places.test(readFileSync(path, "utf8"))),
      [],
    );
  });
});

describe("package-lock.json", () => {
  it("names no registry, so that a mirror serves as well", () => {
    assert.doesNotMatch(readFileSync("package-lock.json", "utf8"), /"resolved"/);
  });

  it("is complete, so that npm ci takes it", () => {
    execFileSync(process.execPath, ["scripts/complete-lockfile.ts", "--check"]);
  });

  it("pins every direct dependency exactly", () => {
    const { dependencies, devDependencies, optionalDependencies } = JSON.parse(readFileSync("package.json", "utf8"));
    const loose = Object.entries({ ...dependencies, ...devDependencies, ...optionalDependencies }).filter(
      ([, version]) => !/^\d+\.\d+\.\d+$/.test(String(version)),
    );
    assert.deepEqual(loose, []);
  });
});

/** The keys of a pool and of its sections. */
function poolKeys({ properties = {} }: OptionSchema): string[] {
  return Object.entries(properties).flatMap(([name, schema]) => [name, ...poolKeys(schema)]);
}
