/**
 * Makes images of one server in every way, its guest running all the while, and prints what `mica explain` says then: the tables of docs/captures.md.
 * Needs root, libvirt, QEMU and xfsprogs, as `make test-real` does. Usage: node scripts/compare-captures.ts
 */
import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { GiB, MINUTE_MS } from "#/lib/units.ts";
import { CloudWithGuests } from "../test/real/support/cloud-with-guests.ts";
import { inGuest } from "../test/real/support/guest-shell.ts";
import { mountNew } from "../test/support/file-systems.ts";

const MICA = join(import.meta.dirname, "../bin/mica");
const DATA_MIB = 128;
/** Volumes in use may be uploaded. */
const FORCE = { MICA_ENABLE_FORCE_UPLOAD: "true" };

await compare("clones are overlays (ext4)", await CloudWithGuests.start(FORCE), ["backup_job", "live_mirror", "cold"]);

const place = await mountNew("xfs", { sizeBytes: 8 * GiB });
try {
  await compare("clones share blocks (XFS)", await CloudWithGuests.start({ ...FORCE, TMPDIR: place.path }, { dataDir: join(place.path, "mica") }), ["pool_snapshot"]);
} finally {
  await place[Symbol.asyncDispose]();
}

async function compare(where: string, cloud: CloudWithGuests, methods: readonly string[]): Promise<void> {
  try {
    const { id, volumeId } = await newServer(cloud);
    for (const method of methods) {
      await cloud.mica.stop();
      await cloud.mica.start({ MICA_SERVERS_CAPTURE_METHOD: method });
      await cloud.act(id, { createImage: { name: method } }, "ACTIVE");
    }
    await cloud.mica.stop();
    await cloud.mica.start();
    for (const format of ["raw", "qcow2"]) await upload(cloud, volumeId, format);
    const { stdout } = await promisify(execFile)(MICA, ["explain", id, "--data-dir", cloud.mica.dataDir], { timeout: MINUTE_MS });
    process.stdout.write(`\n${where}\n\n${stdout}`);
    await cloud.deleteServer(id);
  } finally {
    await cloud[Symbol.asyncDispose]();
  }
}

/** With as many random bytes on its root disk, behind the file system, as on its volume. */
async function newServer(cloud: CloudWithGuests): Promise<{ id: string; volumeId: string }> {
  const id = await cloud.createServer({ name: "web", imageRef: await cloud.addImage() });
  await cloud.untilServer(id, "ACTIVE");
  await cloud.untilBooted(id);
  const volumeId = await cloud.createVolume({ size: 1, name: "data" });
  await cloud.compute("POST", `/servers/${id}/os-volume_attachments`, { volumeAttachment: { volumeId } });
  await cloud.untilVolume(volumeId, "in-use");
  for (const disk of ["vda", "vdb"]) await inGuest(cloud.hypervisor, id, `dd if=/dev/urandom of=/dev/${disk} bs=1M seek=256 count=${DATA_MIB} conv=fsync`);
  return { id, volumeId };
}

async function upload(cloud: CloudWithGuests, volumeId: string, format: string): Promise<void> {
  const body = { "os-volume_upload_image": { image_name: format, disk_format: format, container_format: "bare", force: true } };
  await cloud.mica.json("POST", `/volume/v3/volumes/${volumeId}/action`, { body });
  await cloud.untilVolume(volumeId, "in-use");
}
