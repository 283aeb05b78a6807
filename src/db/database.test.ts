import assert from "node:assert/strict";
import { it } from "node:test";
import { openDatabase } from "./database.ts";

it("openDatabase() makes the tables and may be repeated on a transaction's rollback", async () => {
  await using db = await openDatabase(":memory:");
  await assert.rejects(
    db.transaction().execute(async (trx) => {
      await trx.insertInto("setting").values({ name: "a", value: "1" }).execute();
      throw new Error("no");
    }),
  );
  assert.deepEqual(await db.selectFrom("setting").selectAll().execute(), []);
});

it("openDatabase() serialises transactions that overlap in time", async () => {
  await using db = await openDatabase(":memory:");
  const add = (name: string) =>
    db.transaction().execute(async (trx) => {
      await trx.insertInto("setting").values({ name, value: "1" }).execute();
      await new Promise((resolve) => setTimeout(resolve, 5));
    });
  await Promise.all([add("a"), add("b"), add("c")]);
  assert.equal((await db.selectFrom("setting").selectAll().execute()).length, 3);
});
