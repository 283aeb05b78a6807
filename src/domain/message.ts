/**
 * Messages tell a user why an operation on a volume or snapshot failed after its request had been accepted. Their ids and
 * words are Cinder's (cinder/message/message_field.py), since clients and runbooks match on them.
 */
export const MESSAGE_RESOURCES = { volume: "VOLUME", snapshot: "VOLUME_SNAPSHOT" } as const;
export type MessageResource = keyof typeof MESSAGE_RESOURCES;

/** What was tried. */
export const MESSAGE_ACTIONS = {
  SCHEDULE_ALLOCATE_VOLUME: { id: "001", words: "schedule allocate volume" },
  COPY_VOLUME_TO_IMAGE: { id: "003", words: "copy volume to image" },
  COPY_IMAGE_TO_VOLUME: { id: "005", words: "copy image to volume" },
  EXTEND_VOLUME: { id: "007", words: "extend volume" },
  CREATE_VOLUME_FROM_BACKEND: { id: "008", words: "create volume from backend storage" },
  SNAPSHOT_CREATE: { id: "009", words: "create snapshot" },
  SNAPSHOT_DELETE: { id: "010", words: "delete snapshot" },
} as const satisfies Record<string, { id: string; words: string }>;
export type MessageAction = keyof typeof MESSAGE_ACTIONS;

/** Why it failed. */
export const MESSAGE_DETAILS = {
  UNKNOWN_ERROR: { id: "001", words: "An unknown error occurred." },
  NO_BACKEND_AVAILABLE: { id: "003", words: "Could not find any available weighted backend." },
  FAILED_TO_UPLOAD_VOLUME: { id: "004", words: "Failed to upload volume to image at backend." },
  QUOTA_EXCEED: { id: "006", words: "Not enough quota resource for operation." },
  NOT_ENOUGH_SPACE_FOR_IMAGE: { id: "007", words: "Image used for creating volume exceeds available space." },
  DRIVER_FAILED_EXTEND: { id: "010", words: "Volume Driver failed to extend volume." },
  SIGNATURE_VERIFICATION_FAILED: { id: "011", words: "Image signature verification failed." },
  DRIVER_FAILED_CREATE: { id: "012", words: "Driver failed to create the volume." },
  SNAPSHOT_CREATE_ERROR: { id: "013", words: "Snapshot failed to create." },
  SNAPSHOT_DELETE_ERROR: { id: "016", words: "Snapshot failed to delete." },
  IMAGE_FORMAT_UNACCEPTABLE: {
    id: "028",
    words: "The image disk format must be the same as the volume format for the volume type you are requesting.",
  },
} as const satisfies Record<string, { id: string; words: string }>;
export type MessageDetail = keyof typeof MESSAGE_DETAILS;

/** `VOLUME_VOLUME_005_007`: what happened, for programs. */
export function messageEventId(resource: MessageResource, action: MessageAction, detail: MessageDetail): string {
  return `VOLUME_${MESSAGE_RESOURCES[resource]}_${MESSAGE_ACTIONS[action].id}_${MESSAGE_DETAILS[detail].id}`;
}

/** `copy image to volume:Image used for creating volume exceeds available space.`: the same for people. */
export function messageWords(action: MessageAction, detail: MessageDetail): string {
  return `${MESSAGE_ACTIONS[action].words}:${MESSAGE_DETAILS[detail].words}`;
}
