import { GiB, gibibytesFor } from "#/lib/units.ts";
import { AppError } from "./errors.ts";
import type { Image } from "./image.ts";
import { invalidSnapshot } from "./snapshot.ts";
import { invalidInput, invalidVolume, VOLUME_TRANSITIONS } from "./volume.ts";

/** 400 unless the volume's content may become another volume's. Its words are Cinder's (volume/flows/api/create_volume.py). */
export function refuseSourceVolume({ status, size_bytes }: { status: string; size_bytes: number }, sizeGib: number): void {
  const { from } = VOLUME_TRANSITIONS.source;
  if (!(from as readonly string[]).includes(status)) {
    throw invalidVolume(
      `Unable to create a volume from an originating source volume when its status is not one of ${from.join(", ")} values.`,
    );
  }
  const sourceGib = gibibytesFor(size_bytes);
  if (sizeGib >= sourceGib) return;
  throw invalidInput(
    `Volume size '${sizeGib}'GB cannot be smaller than original volume size ${sourceGib}GB. They must be >= original volume size.`,
  );
}

/** 400 unless the snapshot may become a volume. */
export function refuseSourceSnapshot({ status, size_bytes }: { status: string; size_bytes: number }, sizeGib: number): void {
  if (status !== "available") throw invalidSnapshot("Originating snapshot status must be one of available values.");
  const sourceGib = gibibytesFor(size_bytes);
  if (sizeGib >= sourceGib) return;
  throw invalidInput(
    `Volume size '${sizeGib}'GB cannot be smaller than the snapshot size ${sourceGib}GB. They must be >= original snapshot size.`,
  );
}

/** 400 unless the image has bytes that fit. Sizes are compared as Cinder does: rounded up to GiB. */
export function refuseSourceImage(image: Image, sizeGib: number): void {
  if (image.status !== "active") throw invalidInput(`Image ${image.id} is not active.`);
  const imageGib = gibibytesFor(image.sizeBytes ?? 0);
  if (imageGib > sizeGib) throw invalidInput(`Size of specified image ${imageGib}GB is larger than volume size ${sizeGib}GB.`);
  if (image.minDiskGib > sizeGib) {
    throw invalidInput(`Volume size ${sizeGib}GB cannot be smaller than the image minDisk size ${image.minDiskGib}GB.`);
  }
  const virtualSizeBytes = image.virtualSizeBytes ?? 0;
  if (virtualSizeBytes <= sizeGib * GiB) return;
  const virtualGib = gibibytesFor(virtualSizeBytes);
  throw new AppError(
    "bad_request",
    `Image ${image.id} is unacceptable: Image virtual size is ${virtualGib}GB and doesn't fit in a volume of size ${sizeGib}GB.`,
  );
}

/** What a volume keeps of the image that it is made from: Cinder's `volume_image_metadata`. */
export function imageMetadataOf(image: Image): Record<string, string> {
  const facts = {
    image_id: image.id,
    image_name: image.name,
    checksum: image.checksumMd5,
    container_format: image.containerFormat,
    disk_format: image.diskFormat,
    min_disk: image.minDiskGib,
    min_ram: image.minRamMib,
    size: image.sizeBytes,
  };
  const known = Object.entries(facts).filter(([, value]) => value !== null);
  return { ...image.properties, ...Object.fromEntries(known.map(([name, value]) => [name, String(value)])) };
}

/** Facts of the old image's bytes and record; the new image has its own. Cinder's `glance_core_properties`. */
const NOT_INHERITED: ReadonlySet<string> = new Set([
  "image_id",
  "image_name",
  "name",
  "checksum",
  "container_format",
  "disk_format",
  "min_disk",
  "min_ram",
  "size",
  "signature_verified",
]);

/** The properties that an image inherits from the volume it is made of. Reserved namespaces and signatures of other bytes stay behind. */
export function inheritedProperties(imageMetadata: Readonly<Record<string, string>>): Record<string, string> {
  const isInherited = (name: string) => !NOT_INHERITED.has(name) && !/^(os_glance|cinder_encryption|img_signature)/.test(name);
  return Object.fromEntries(Object.entries(imageMetadata).filter(([name]) => isInherited(name)));
}
