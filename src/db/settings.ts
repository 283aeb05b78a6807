import type { Database } from "./database.ts";

/** The setting's value; where there is none yet, `value` is kept and returned. Of several that ask at once, all get the same. */
export async function settingOrNew(db: Database, name: string, value: string): Promise<string> {
  await db.insertInto("setting").values({ name, value }).onConflict((conflict) => conflict.column("name").doNothing()).execute();
  return (await findSetting(db, name)) ?? value;
}

export async function findSetting(db: Database, name: string): Promise<string | undefined> {
  return (await db.selectFrom("setting").select("value").where("name", "=", name).executeTakeFirst())?.value;
}
