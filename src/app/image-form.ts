import type { Config } from "#/config/schema.ts";
import type { ImageForm } from "#/domain/compression.ts";
import { AppError } from "#/domain/errors.ts";
import { type ContainerFormat, contentFormat, type ImageDiskFormat } from "#/domain/image.ts";
import { invalidInput } from "#/domain/volume.ts";

/**
 * What the bytes of a volume's image are to be, by the request and the configuration. `bad_request` for formats that no volume can
 * have, and for compressed images where the operator does not allow them: before anything is recorded.
 */
export function imageFormOf({ volumeUploads }: Pick<Config, "volumeUploads">, { diskFormat, containerFormat }: { diskFormat: ImageDiskFormat; containerFormat: ContainerFormat }): ImageForm {
  if (containerFormat === "compressed") {
    if (!volumeUploads.allowCompressed) throw new AppError("bad_request", "Image compression upload disallowed, but container_format is compressed.");
    return { diskFormat: writableFormat(diskFormat), stream: volumeUploads.compression };
  }
  if (containerFormat !== "bare") throw invalidInput(`A volume becomes a bare image or a compressed one, not one in a container of format ${containerFormat}.`);
  return { diskFormat: writableFormat(diskFormat), clusters: clustersOf(volumeUploads, diskFormat) };
}

function writableFormat(diskFormat: ImageDiskFormat): ImageForm["diskFormat"] {
  if (!WRITABLE.has(diskFormat)) throw invalidInput(`No volume can be written as ${diskFormat}: choose raw, qcow2, vmdk, vdi, vhd or vhdx.`);
  return contentFormat(diskFormat, "bare");
}

const WRITABLE: ReadonlySet<ImageDiskFormat> = new Set(["raw", "qcow2", "vmdk", "vdi", "vhd", "vhdx"]);

function clustersOf({ compressClusters, clusterCompression, vmdkSubformat }: Config["volumeUploads"], diskFormat: ImageDiskFormat): ImageForm["clusters"] {
  if (diskFormat === "qcow2" && compressClusters) return clusterCompression;
  return diskFormat === "vmdk" && vmdkSubformat === "streamOptimized" ? "zlib" : undefined;
}
