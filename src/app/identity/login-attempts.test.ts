import assert from "node:assert/strict";
import { it } from "node:test";
import { LoginAttempts } from "./login-attempts.ts";

const PAUSED = { code: "too_many_requests" };

it("LoginAttempts pause after five failures in a row, for a minute since the last", () => {
  let nowMs = 0;
  const attempts = new LoginAttempts({ nowMs: () => nowMs });
  for (let failure = 0; failure < 5; failure++) {
    attempts.refuseWhilePaused("ann");
    attempts.failed("ann");
  }
  assert.throws(() => attempts.refuseWhilePaused("ann"), PAUSED);
  attempts.refuseWhilePaused("bob");
  nowMs = 59_999;
  assert.throws(() => attempts.refuseWhilePaused("ann"), PAUSED);
  nowMs = 60_000;
  attempts.refuseWhilePaused("ann");
});

it("LoginAttempts begin anew after a success", () => {
  const attempts = new LoginAttempts({ nowMs: () => 0 });
  for (let failure = 0; failure < 4; failure++) attempts.failed("ann");
  attempts.succeeded("ann");
  attempts.failed("ann");
  attempts.refuseWhilePaused("ann");
});

it("LoginAttempts forget the oldest of very many names", () => {
  const attempts = new LoginAttempts({ nowMs: () => 0 });
  for (let failure = 0; failure < 5; failure++) attempts.failed("first");
  for (let name = 0; name < 9_999; name++) attempts.failed(`${name}`);
  assert.throws(() => attempts.refuseWhilePaused("first"), PAUSED);
  attempts.failed("one more");
  attempts.refuseWhilePaused("first");
});
