import assert from "node:assert/strict";
import { it } from "node:test";
import type { Database } from "#/db/database.ts";
import { bootstrapIdentity, firstPassword } from "./bootstrap.ts";
import { Identity } from "./identity.ts";
import { Passwords } from "./passwords.ts";
import { openMemoryDatabase } from "../../../test/support/memory-database.ts";

const passwords = new Passwords({ N: 2, r: 1, p: 1 });

it("firstPassword() makes one at the first start only, and bootstrapIdentity() leaves it as it is without another", async () => {
  await using db = await openMemoryDatabase();
  const [password = "", other] = [await firstPassword(db), await firstPassword(db)];
  assert.ok(password.length >= 20 && password !== other);
  await bootstrap(db, password);
  assert.deepEqual(await rolesOf(db, password), ["admin", "member", "reader"]);
  assert.equal(await firstPassword(db), undefined);
  await bootstrap(db);
  assert.equal((await rolesOf(db, password)).length, 3);
});

it("bootstrapIdentity() takes a given password, and sets it at a later start if it differs", async () => {
  await using db = await openMemoryDatabase();
  await bootstrap(db, "first");
  const hash = await hashOf(db);
  await bootstrap(db, "first");
  assert.equal(await hashOf(db), hash, "the same password is not hashed anew");
  await bootstrap(db, "second");
  assert.equal((await rolesOf(db, "second")).length, 3);
  await assert.rejects(rolesOf(db, "first"), { code: "unauthorized" });
});

it("bootstrapIdentity() ends the old password's tokens when it sets another", async () => {
  await using db = await openMemoryDatabase();
  let nowMs = 1000;
  const clock = { nowMs: () => nowMs };
  await bootstrapIdentity(db, { clock, adminPassword: "first", passwords });
  const identity = await Identity.open({ db, clock, tokenLifetimeMs: 60_000, passwords });
  const { text } = await loginAsAdmin(identity, "first");
  nowMs += 1;
  await bootstrapIdentity(db, { clock, adminPassword: "second", passwords });
  await assert.rejects(identity.tokens.check(text), { code: "unauthorized" });
});

it("bootstrapIdentity() brings back an administrator who was disabled, lost his role, or was deleted", async () => {
  await using db = await openMemoryDatabase();
  await bootstrap(db, "pass");
  const losses = [
    () => db.updateTable("user").set({ enabled: 0 }).execute(),
    () => db.deleteFrom("role_assignment").execute(),
    () => db.deleteFrom("user").execute(),
  ];
  for (const lose of losses) {
    await lose();
    await assert.rejects(rolesOf(db, "pass"), { code: "unauthorized" });
    await bootstrap(db, "pass");
    assert.equal((await rolesOf(db, "pass")).length, 3);
  }
});

async function bootstrap(db: Database, adminPassword?: string) {
  return bootstrapIdentity(db, { clock: { nowMs: () => 1000 }, adminPassword, passwords });
}

async function rolesOf(db: Database, password: string): Promise<string[]> {
  const identity = await Identity.open({ db, clock: { nowMs: () => 2000 }, tokenLifetimeMs: 60_000, passwords });
  const { subject } = await loginAsAdmin(identity, password);
  return subject.roles.map(({ name }) => name);
}

async function loginAsAdmin(identity: Identity, password: string) {
  const domain = { name: "Default" };
  const proofs = [{ method: "password", user: { name: "admin", domain }, password }] as const;
  return identity.login.issue({ proofs, scope: { kind: "project", project: { name: "admin", domain } }, address: "here" });
}

async function hashOf(db: Database): Promise<string> {
  const row = await db.selectFrom("user").select("password_hash").where("name", "=", "admin").executeTakeFirstOrThrow();
  return row.password_hash;
}
