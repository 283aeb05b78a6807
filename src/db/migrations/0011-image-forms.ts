import { type Kysely, sql } from "kysely";

/**
 * Of the image that a server was made of, what its own images take over: that image may be deleted. JSON; null where the server was booted from a volume.
 * Of a server whose image is deleted already nobody knows it any more.
 */
export async function up(db: Kysely<unknown>): Promise<void> {
  await db.schema.alterTable("server").addColumn("image_form", "text").execute();
  await sql`
    update server set image_form = (
      select json_object('diskFormat', disk_format, 'containerFormat', container_format, 'minDiskGib', min_disk_gib, 'minRamMib', min_ram_mib)
      from image where image.id = server.image_id
    )`.execute(db);
}
