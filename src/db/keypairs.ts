import type { Keypair } from "#/domain/keypair.ts";
import type { KeypairTable } from "./compute-tables.ts";
import type { Database } from "./database.ts";

/** Undefined where the user has one of that name already. */
export async function insertKeypair(trx: Database, keypair: Omit<Keypair, "id">): Promise<Keypair | undefined> {
  const row = await trx
    .insertInto("keypair")
    .values({
      user_id: keypair.userId,
      name: keypair.name,
      type: keypair.type,
      fingerprint: keypair.fingerprint,
      public_key: keypair.publicKey,
      created_at: keypair.createdAtMs,
    })
    .onConflict((conflict) => conflict.columns(["user_id", "name"]).doNothing())
    .returning("id")
    .executeTakeFirst();
  return row && { ...keypair, id: row.id };
}

export async function findKeypair(db: Database, userId: string, name: string): Promise<Keypair | undefined> {
  const row = await db.selectFrom("keypair").selectAll().where("user_id", "=", userId).where("name", "=", name).executeTakeFirst();
  return row && keypairOf({ ...row });
}

/** By name, behind the name `marker`. */
export async function listKeypairs(db: Database, userId: string, { marker, limit }: { marker: string | undefined; limit: number }): Promise<Keypair[]> {
  let query = db.selectFrom("keypair").selectAll().where("user_id", "=", userId).orderBy("name").limit(limit);
  if (marker !== undefined) query = query.where("name", ">", marker);
  return (await query.execute()).map(keypairOf);
}

export async function countKeypairs(db: Database, userId: string): Promise<number> {
  const { count } = await db
    .selectFrom("keypair")
    .select((eb) => eb.fn.countAll<number>().as("count"))
    .where("user_id", "=", userId)
    .executeTakeFirstOrThrow();
  return Number(count);
}

/** False where there is none. */
export async function removeKeypair(trx: Database, userId: string, name: string): Promise<boolean> {
  const { numDeletedRows } = await trx.deleteFrom("keypair").where("user_id", "=", userId).where("name", "=", name).executeTakeFirst();
  return numDeletedRows === 1n;
}

type KeypairRow = Omit<KeypairTable, "id"> & { readonly id: number };

function keypairOf(row: KeypairRow): Keypair {
  return {
    id: row.id,
    userId: row.user_id,
    name: row.name,
    type: row.type,
    fingerprint: row.fingerprint,
    publicKey: row.public_key,
    createdAtMs: row.created_at,
  };
}
