import assert from "node:assert/strict";
import { it } from "node:test";
import { Passwords } from "./passwords.ts";
import { Turns } from "./turns.ts";

const CHEAP = { N: 2, r: 1, p: 1 };

it("Passwords know the right secret, of any script and in either normal form", async () => {
  const passwords = new Passwords(CHEAP);
  const hash = await passwords.hash("pässwörd 密码".normalize("NFC"));
  assert.equal(await passwords.verify("pässwörd 密码".normalize("NFD"), hash), true);
  assert.equal(await passwords.verify("pässwörd 密碼", hash), false);
  assert.equal(await passwords.verify("", hash), false);
});

it("Passwords salt: the same secret has another hash each time", async () => {
  const passwords = new Passwords(CHEAP);
  assert.notEqual(await passwords.hash("x"), await passwords.hash("x"));
});

it("Passwords read hashes of another cost, so that the cost can be raised", async () => {
  const hash = await new Passwords(CHEAP).hash("x");
  assert.equal(await new Passwords({ N: 4, r: 2, p: 2 }).verify("x", hash), true);
});

it("Passwords know no secret for a missing or broken hash", async () => {
  const passwords = new Passwords(CHEAP);
  for (const hash of [undefined, "", "x", "md5$1$2$3$4$5"]) assert.equal(await passwords.verify("", hash), false);
});

it("Passwords take as long for a user who does not exist", async () => {
  const passwords = new Passwords({ N: 2 ** 14, r: 8, p: 1 });
  const hash = await passwords.hash("x");
  const missing = await fastest(() => passwords.verify("x", undefined));
  const present = await fastest(() => passwords.verify("y", hash));
  assert.ok(missing > present / 4 && missing < present * 4, `${missing} ms and ${present} ms`);
});

it("Passwords refuse a flood instead of queueing it", async () => {
  const passwords = new Passwords({ N: 2 ** 12, r: 8, p: 1 });
  const hash = await passwords.hash("x");
  const answers = await Promise.allSettled(Array.from({ length: 100 }, async () => passwords.verify("x", hash)));
  const refused = answers.filter(({ status }) => status === "rejected");
  assert.equal(refused.length, 100 - 66);
  assert.deepEqual(new Set(refused.map((answer) => (answer as PromiseRejectedResult).reason.code)), new Set(["too_many_requests"]));
});

it("Turns run a few at once, in order, and go on after a failure", async () => {
  const turns = new Turns(2, 10);
  let running = 0;
  let runningMax = 0;
  const done: number[] = [];
  const task = async (name: number) => {
    running += 1;
    runningMax = Math.max(runningMax, running);
    await new Promise((resolve) => setImmediate(resolve));
    running -= 1;
    done.push(name);
    if (name === 1) throw new Error("no");
  };
  await Promise.allSettled([0, 1, 2, 3, 4, 5].map(async (name) => turns.take(() => task(name))));
  assert.deepEqual([runningMax, done], [2, [0, 1, 2, 3, 4, 5]]);
  assert.equal(await turns.take(async () => "again"), "again");
});

async function fastest(run: () => Promise<unknown>): Promise<number> {
  let bestMs = Number.POSITIVE_INFINITY;
  for (let round = 0; round < 5; round++) {
    const startedMs = performance.now();
    await run();
    bestMs = Math.min(bestMs, performance.now() - startedMs);
  }
  return bestMs;
}
