import type { AppContext } from "#/app/context.ts";
import type { Config } from "#/config/schema.ts";
import type { BlockDeviceTable, ServerTable } from "#/db/server-tables.ts";
import { getDisk } from "#/db/disks.ts";
import type { ImageForm } from "#/domain/compression.ts";
import { diskId } from "#/domain/ids.ts";
import type { ImageDiskFormat } from "#/domain/image.ts";
import type { ImageForm as BaseForm } from "#/domain/server-capture.ts";

/** The disks that an image of the server is made of: the root disk of its own, with its volumes where all were asked for; or all volumes of one that boots from a volume. */
export function capturedDevices(root: BlockDeviceTable, devices: readonly BlockDeviceTable[], { all = false } = {}): BlockDeviceTable[] {
  return devices.filter((device) => device === root || (device.volume_id !== null && (all || root.volume_id !== null)));
}

/** What images of the server take over of the image that it was made of, also when that is gone; undefined where it was made of none. */
export function baseForm({ image_form }: Pick<ServerTable, "image_form">): BaseForm | undefined {
  return image_form === null ? undefined : JSON.parse(image_form);
}

/** The disk format of an image of a server: as the operator says, else as the disk is kept. nova/virt/libvirt/driver.py `snapshot`. */
export async function serverImageFormat({ db, pools, config }: Pick<AppContext, "db" | "pools" | "config">, root: BlockDeviceTable): Promise<"raw" | "qcow2" | "vmdk" | "vdi"> {
  const { snapshotImageFormat, imagesType } = config.servers;
  if (snapshotImageFormat !== "source") return snapshotImageFormat;
  if (imagesType === "qcow2") return "qcow2";
  if (!root.disk_id) return "raw";
  const disk = await getDisk(db, diskId(root.disk_id));
  const { kind, can } = pools.get(disk.pool);
  return ["file", "nfs"].includes(kind) && can.clone === "dependent" && disk.parent ? "qcow2" : "raw";
}

/** The disk format of the image of a server that is shelved: it comes back from that, and the cheapest way is the very bytes. */
export function shelvedImageFormat({ servers }: Pick<Config, "servers">): "raw" | "qcow2" | "vmdk" | "vdi" {
  return servers.snapshotImageFormat === "source" ? "raw" : servers.snapshotImageFormat;
}

/** How the bytes of an image of a server, of that disk format, are kept. */
export function serverImageForm({ servers, volumeUploads }: Pick<Config, "servers" | "volumeUploads">, { diskFormat }: { diskFormat: ImageDiskFormat | null }): ImageForm {
  if (diskFormat !== "qcow2" && diskFormat !== "vmdk" && diskFormat !== "vdi") return { diskFormat: "raw" };
  return { diskFormat, clusters: diskFormat === "qcow2" && servers.snapshotCompression ? volumeUploads.clusterCompression : undefined };
}
