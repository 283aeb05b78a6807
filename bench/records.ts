import { randomUUID } from "node:crypto";
import { openDatabase } from "#/db/database.ts";
import type { ImageTable, VolumeTable } from "#/db/tables.ts";
import { GiB } from "#/lib/units.ts";

/** Whose records are written among those of many other projects. */
export interface Owners {
  /** Has `FEW` images and as many volumes. */
  readonly fewProjectId: string;
  /** Has half of all. */
  readonly manyProjectId: string;
}

/** As many records have the name `COMMON_NAME`, the status `RARE_STATUS`, and the first owner: more than a page. */
const FEW = 30;
export const COMMON_NAME = "common";
export const RARE_STATUS = { image: "queued", volume: "error" } as const;

const OTHER_PROJECTS = 50;
const ROWS_AT_ONCE = 500;

/** Writes `count` images and `count` volumes, with properties, tags and metadata, into the state of a server that is not running. */
export async function writeRecords(databasePath: string, count: number, owners: Owners): Promise<void> {
  await using db = await openDatabase(databasePath);
  const { id: typeId } = await db.selectFrom("volume_type").select("id").executeTakeFirstOrThrow();
  const others = Array.from({ length: OTHER_PROJECTS }, () => randomUUID());
  for (let from = 0; from < count; from += ROWS_AT_ONCE) {
    const facts = Array.from({ length: Math.min(ROWS_AT_ONCE, count - from) }, (_, index) => factsOf(from + index, count, owners, others));
    const [images, volumes] = [facts.map(imageOf), facts.map((fact) => volumeOf(fact, typeId))];
    await db.transaction().execute(async (trx) => {
      await trx.insertInto("image").values(images).execute();
      await trx.insertInto("image_property").values(images.flatMap(propertiesOf)).execute();
      await trx.insertInto("image_tag").values(images.map(({ id }) => ({ image_id: id, tag: "bench" }))).execute();
      await trx.insertInto("volume").values(volumes).execute();
      await trx.insertInto("volume_metadata").values(volumes.map(({ id }) => ({ volume_id: id, name: "role", value: "web" }))).execute();
    });
  }
}

interface Facts {
  readonly index: number;
  readonly projectId: string;
  readonly isCommon: boolean;
  readonly isRare: boolean;
}

/** The few stand evenly among the many, each kind in places of its own. */
function factsOf(index: number, count: number, { fewProjectId, manyProjectId }: Owners, others: readonly string[]): Facts {
  const stride = Math.floor(count / FEW);
  const place = index < stride * FEW ? index % stride : -1;
  const other = index % 2 === 0 ? manyProjectId : (others[index % others.length] ?? "");
  return { index, projectId: place === 0 ? fewProjectId : other, isCommon: place === 1, isRare: place === 2 };
}

function imageOf({ index, projectId, isCommon, isRare }: Facts): ImageTable {
  return {
    id: randomUUID(),
    name: isCommon ? COMMON_NAME : `image-${index}`,
    owner: projectId,
    status: isRare ? RARE_STATUS.image : "active",
    visibility: index % 10 === 9 ? "public" : "private",
    disk_format: "qcow2",
    container_format: "bare",
    size_bytes: GiB,
    virtual_size_bytes: 10 * GiB,
    min_disk_gib: 0,
    min_ram_mib: 0,
    protected: 0,
    hidden: 0,
    checksum_md5: "d41d8cd98f00b204e9800998ecf8427e",
    hash_algorithm: "sha512",
    hash_value: "0".repeat(128),
    disk_id: null,
    created_at: index,
    updated_at: index,
  };
}

function propertiesOf({ id }: ImageTable) {
  return [
    { image_id: id, name: "os_distro", value: "debian" },
    { image_id: id, name: "hw_disk_bus", value: "virtio" },
  ];
}

function volumeOf({ index, projectId, isCommon, isRare }: Facts, typeId: string): VolumeTable {
  return {
    id: randomUUID(),
    project_id: projectId,
    user_id: "user",
    name: isCommon ? COMMON_NAME : `volume-${index}`,
    description: null,
    status: isRare ? RARE_STATUS.volume : "available",
    previous_status: null,
    size_bytes: GiB,
    availability_zone: "nova",
    volume_type_id: typeId,
    bootable: 1,
    readonly: 0,
    multiattach: 0,
    attach_status: "detached",
    migration_status: null,
    snapshot_id: null,
    source_volume_id: null,
    image_id: null,
    pool: "local",
    disk_id: null,
    created_at: index,
    updated_at: index,
  };
}
