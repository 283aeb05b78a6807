import assert from "node:assert/strict";
import { it } from "node:test";
import { newPassword } from "#/app/new-password.ts";

it("newPassword() has twelve signs, some of each group, and is another each time", () => {
  const made = Array.from({ length: 200 }, newPassword);
  for (const password of made) assert.match(password, /^(?=.*\d)(?=.*[A-Z])(?=.*[a-z])[2-9A-HJ-NP-Za-km-z]{12}$/);
  assert.equal(new Set(made).size, made.length);
});
