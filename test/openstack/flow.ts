import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Cloud, type CloudOptions, type Credentials } from "./cloud.ts";
import { filled, type Variables } from "../support/variables.ts";
import { difference, type Expectation } from "./expectation.ts";
import { parseTable } from "./pretty-table.ts";
import { type Outcome, PROGRAMS, type Program } from "./stock-client.ts";

/** A command and its outcome. */
export interface Row {
  /** As one would type it; `{name}` stands for what an earlier command gave, and quotes keep words together. */
  readonly run: string;
  /** Who types it, or other variables of the environment to log in with; the administrator where it is not said. */
  readonly as?: string | Credentials;
  /** The microversion of Block Storage; 3.0 where it is not said, as the clients have it. */
  readonly volumeApi?: string;
  /** The microversion of Compute; what the clients have where it is not said. */
  readonly computeApi?: string;
  /** The exit status; where it is not said, 0, or with `error` 1. */
  readonly exit?: number;
  /** What the answer must have: openstack's JSON, the others' tables. */
  readonly shows?: Expectation;
  /** What the output must be like. */
  readonly text?: RegExp;
  /** What the complaint must be like. */
  readonly error?: RegExp;
  /** Variables for the next commands, each with the field of the answer that it comes from. */
  readonly keep?: Readonly<Record<string, string>>;
  /** Asked again and again until it shows this. */
  readonly until?: Expectation;
  /** Looks at what the command has left in the folder. */
  readonly afterwards?: (folder: string, variables: Variables) => Promise<void>;
}

const WAIT_LIMIT_MS = 120_000;
const WAIT_STEP_MS = 200;

/** Flows at once: one computes while the other waits. */
const CONCURRENCY = 2;

/** Runs flows, each a list of commands that belong together, on a cloud of their own; in the end the audit must find nothing left over. */
export function onCloud(name: string, flows: Readonly<Record<string, readonly Row[]>>, options: CloudOptions = {}): void {
  describe(name, () => {
    let cloud: Cloud;
    before(async () => void (cloud = await Cloud.open(options)));
    after(() => cloud?.[Symbol.asyncDispose]());
    describe("commands", { concurrency: CONCURRENCY }, () => {
      for (const [flow, rows] of Object.entries(flows)) testInOrder(flow, rows, () => cloud);
    });
    it("the audit finds nothing left over", async () => {
      const { code, output } = await cloud.mica.audit();
      assert.equal(code, 0, output);
    });
  });
}

function testInOrder(flow: string, rows: readonly Row[], cloud: () => Cloud): void {
  describe(flow, { concurrency: 1 }, () => {
    const variables = new Map<string, string>();
    for (const row of rows) it(titleOf(row), () => check(row, cloud(), variables));
  });
}

function titleOf({ run, as, volumeApi, computeApi, error }: Row): string {
  const who = typeof as === "object" ? Object.values(as).join(" ") : as;
  const version = [volumeApi, computeApi].map((each) => (each ? ` [${each}]` : "")).join("");
  return `${who ? `${who}: ` : ""}${run}${version}${error ? " is refused" : ""}`;
}

async function check(row: Row, cloud: Cloud, variables: Map<string, string>): Promise<void> {
  for (const [name, value] of cloud.people.ids) variables.set(name, value);
  const [program, argv] = commandOf(row, variables);
  const as = typeof row.as === "object" ? mapValues(row.as, (value) => filled(value, variables)) : (row.as ?? "admin");
  const run = () => cloud.run(program, argv, { as, volumeApi: row.volumeApi, computeApi: row.computeApi });
  const outcome = row.until === undefined ? await run() : await untilShown(run, row.until, variables);
  judge(row, outcome, variables);
  for (const [name, field] of Object.entries(row.keep ?? {})) variables.set(name, kept(outcome, field));
  await row.afterwards?.(cloud.folder, variables);
}

function commandOf(row: Row, variables: Variables): [Program, string[]] {
  const words = row.run.match(/(?:[^\s']+|'[^']*')+/g) ?? [];
  const [program, ...argv] = words.map((word) => filled(word.replaceAll("'", ""), variables));
  if (!isProgram(program)) throw new Error(`"${row.run}" starts none of ${PROGRAMS.join(", ")}`);
  const asksForJson = program === "openstack" && (row.shows ?? row.until ?? row.keep) !== undefined;
  return [program, asksForJson ? [...argv, "-f", "json"] : argv];
}

function mapValues(record: Credentials, change: (value: string) => string): Credentials {
  return Object.fromEntries(Object.entries(record).map(([name, value]) => [name, change(value)]));
}

function isProgram(word: string | undefined): word is Program {
  return PROGRAMS.includes(word as Program);
}

async function untilShown(run: () => Promise<Outcome>, wanted: Expectation, variables: Variables): Promise<Outcome> {
  for (const endMs = Date.now() + WAIT_LIMIT_MS; ; ) {
    const outcome = await run();
    if (outcome.status === 0 && difference(answerOf(outcome), wanted, variables) === undefined) return outcome;
    if (Date.now() > endMs) return outcome;
    await sleep(WAIT_STEP_MS);
  }
}

function judge(row: Row, outcome: Outcome, variables: Variables): void {
  const { exit = row.error ? 1 : 0, shows, until, text, error } = row;
  const said = `\n--- output\n${outcome.stdout}\n--- complaint\n${outcome.stderr}`;
  assert.equal(outcome.status, exit, `Exit status ${outcome.status}, not ${exit}.${said}`);
  if (error) assert.match(outcome.stderr, error);
  if (text) assert.match(outcome.stdout, text);
  const expected = shows ?? until;
  if (expected === undefined) return;
  const problem = difference(answerOf(outcome), expected, variables);
  assert.equal(problem, undefined, `${problem}${said}`);
}

function answerOf({ stdout }: Outcome): unknown {
  return /^\s*[[{]/.test(stdout) ? JSON.parse(stdout) : parseTable(stdout);
}

function kept(outcome: Outcome, field: string): string {
  const value = (answerOf(outcome) as Record<string, unknown>)[field];
  assert.ok(value !== undefined, `The answer has no ${field}: ${outcome.stdout}`);
  return String(value);
}
