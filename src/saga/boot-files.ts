import { createWriteStream } from "node:fs";
import { rename, stat } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { getDisk } from "#/db/disks.ts";
import { findImage } from "#/db/images.ts";
import { AppError } from "#/domain/errors.ts";
import { diskId } from "#/domain/ids.ts";
import { formatBytes, MiB } from "#/lib/units.ts";
import type { SagaServices } from "#/saga/context.ts";
import type { GuestBoot } from "#/vm/guest.ts";
import type { ServerFolder } from "#/vm/server-folder.ts";

/** Kernels are some MiB, ramdisks up to a hundred or two. */
const BOOT_FILE_BYTES_MAX = 512 * MiB;

/**
 * What the guest boots from. An image whose properties name a kernel (`kernel_id`, perhaps `ramdisk_id`) is a root file system without a boot
 * loader, as Amazon's are: QEMU loads these files, which are copied to the host once. nova/virt/libvirt/driver.py `_create_image`.
 */
export async function bootOf(services: Pick<SagaServices, "db" | "pools">, properties: Readonly<Record<string, string>>, folder: ServerFolder, rootTarget: string): Promise<GuestBoot> {
  const { kernel_id: kernel, ramdisk_id: ramdisk, os_command_line: commandLine, hw_firmware_type: firmware } = properties;
  if (!kernel) return { kind: "firmware", firmware: firmware === "uefi" ? "uefi" : "bios" };
  return {
    kind: "kernel",
    kernelPath: await bootFile(services, kernel, folder),
    ramdiskPath: ramdisk ? await bootFile(services, ramdisk, folder) : undefined,
    commandLine: commandLine ?? `root=/dev/${rootTarget} console=tty0 console=ttyS0`,
  };
}

/** The bytes of the image in a file of the host; those that are there already stay, since images never change. */
async function bootFile({ db, pools }: Pick<SagaServices, "db" | "pools">, imageId: string, folder: ServerFolder): Promise<string> {
  const path = join(folder.path, `boot-${imageId}`);
  if (await stat(path).catch(() => undefined)) return path;
  const image = await findImage(db, imageId);
  if (!image?.disk_id) throw new AppError("gone", `The kernel or ramdisk image ${imageId} that the server's image names is not there, or has no bytes.`);
  const sizeBytes = image.size_bytes ?? 0;
  if (sizeBytes > BOOT_FILE_BYTES_MAX) throw new AppError("bad_request", `The image ${imageId} has ${formatBytes(sizeBytes)}: that is no kernel or ramdisk.`);
  const disk = await getDisk(db, diskId(image.disk_id));
  const blocks = pools.get(disk.pool).read(disk, { start: 0, end: sizeBytes });
  // The pool reuses its buffers: each is copied before the next one comes.
  await pipeline(Readable.from(copiesOf(blocks), { objectMode: false }), createWriteStream(`${path}.partial`, { mode: 0o644 }));
  await rename(`${path}.partial`, path);
  return path;
}

async function* copiesOf(blocks: AsyncIterable<Uint8Array>): AsyncIterable<Buffer> {
  for await (const block of blocks) yield Buffer.from(block);
}
