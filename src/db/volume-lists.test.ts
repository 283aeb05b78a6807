import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { describe, it } from "node:test";
import { sql } from "kysely";
import type { Database } from "./database.ts";
import { volumeMetadata } from "./key-values.ts";
import { type PageRequest, pageOf } from "./page.ts";
import { allOf, recordConditions, type VolumeFilter } from "./volume-lists.ts";
import { openMemoryDatabase } from "../../test/support/memory-database.ts";

const NO_FILTER: VolumeFilter = { equal: {}, contains: {}, times: [] };
const ofProject: VolumeFilter = { ...NO_FILTER, projectId: "p" };

/** How SQLite would find the page: one line per table that it looks at, and one for a sort of its own. */
async function explain(db: Database, filter: VolumeFilter, page: PageRequest): Promise<string[]> {
  const query = pageOf(
    db
      .selectFrom("volume")
      .selectAll()
      .where(allOf(recordConditions(filter))),
    page,
  );
  return (await query.explain<{ detail: string }>(undefined, sql`query plan`)).map(({ detail }) => detail);
}

describe("a page of volumes", () => {
  const marker = { id: randomUUID(), created_at: 1, name: "a", status: "available", size_bytes: 1 };
  const sorts = [["created_at"], ["name", "created_at"], ["status", "created_at"], ["size_bytes", "created_at"]];
  const filters: [string, VolumeFilter][] = [
    ["of a project", ofProject],
    ["of all projects", NO_FILTER],
  ];
  for (const [scope, filter] of filters) {
    for (const columns of sorts) {
      for (const descending of [true, false]) {
        it(`${scope} by ${columns[0]} ${descending ? "downwards" : "upwards"} walks along an index, from the marker on`, async () => {
          await using db = await openMemoryDatabase();
          const sort = [...columns, "id"].map((column) => ({ column, descending }));
          for (const page of [
            { sort, limit: 25 },
            { sort, limit: 25, marker },
          ]) {
            const plan = await explain(db, filter, page);
            assert.equal(plan.length, 1, plan.join("; "));
            assert.match(plan[0] ?? "", /USING INDEX volume_/);
          }
          const [behindMarker] = await explain(db, filter, { sort, limit: 25, marker });
          assert.match(behindMarker ?? "", /SEARCH/);
        });
      }
    }
  }

  for (const [name, filter] of [
    ["status", { ...ofProject, equal: { status: "error" } }],
    ["name", { ...ofProject, equal: { name: "a" } }],
  ] as const) {
    it(`of a project by ${name}, newest first, walks along an index`, async () => {
      await using db = await openMemoryDatabase();
      const sort = ["created_at", "id"].map((column) => ({ column, descending: true }));
      const plan = await explain(db, filter, { sort, limit: 25, marker });
      assert.equal(plan.length, 1, plan.join("; "));
      assert.match(
        plan[0] ?? "",
        name === "name"
          ? /SEARCH volume USING INDEX volume_project_id_name_created_at_id/
          : /SEARCH volume USING INDEX volume_project_id_status_created_at_id/,
      );
    });
  }

  it("with metadata looks the pair up in its index", async () => {
    await using db = await openMemoryDatabase();
    const sort = ["created_at", "id"].map((column) => ({ column, descending: true }));
    const owners = volumeMetadata.ownersOf(db, "colour", "red");
    const query = pageOf(db.selectFrom("volume").selectAll().where("project_id", "=", "p").where(sql<boolean>`id in ${owners}`), {
      sort,
      limit: 25,
    });
    const plan = (await query.explain<{ detail: string }>(undefined, sql`query plan`)).map(({ detail }) => detail).join("; ");
    assert.match(plan, /SEARCH volume_metadata USING COVERING INDEX volume_metadata_name_value_volume_id \(name=\? AND value=\?\)/, plan);
  });
});
