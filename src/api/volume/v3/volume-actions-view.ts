import type { StartedUpload } from "#/app/volume-uploads.ts";
import { gibibytesFor } from "#/lib/units.ts";
import { timeView } from "./time.ts";
import { volumeTypeView } from "./types-view.ts";
import type { Viewer } from "./viewer.ts";

/** What os-volume_upload_image answers: of the volume and of the image that will be. */
export function startedUploadView({ volume, volumeType, image }: StartedUpload, viewer: Viewer): object {
  return {
    id: volume.id,
    updated_at: timeView(volume.updated_at),
    status: "uploading",
    display_description: volume.description,
    size: gibibytesFor(volume.size_bytes),
    volume_type: volumeTypeView(volumeType, viewer),
    image_id: image.id,
    image_name: image.name,
    container_format: image.containerFormat,
    disk_format: image.diskFormat,
    ...(viewer.minor >= 1 && { visibility: image.visibility, protected: image.isProtected }),
  };
}
