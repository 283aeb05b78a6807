import { find, waitFor } from "./records.ts";
import { ClientError } from "./errors.ts";
import type { Session } from "./session.ts";

/** As much of a volume as we look at (api-ref: Block Storage v3, "Show a volume's details"); `size` in GiB. */
export interface Volume {
  readonly id: string;
  readonly name: string | null;
  readonly status: string;
  readonly size: number;
  readonly bootable: string;
}

export class Volumes {
  readonly #session: Session;

  constructor(session: Session) {
    this.#session = session;
  }

  async show(id: string): Promise<Volume> {
    return (
      await this.#session.json<{ volume: Volume }>("volume", "GET", `/volumes/${encodeURIComponent(id)}`, { what: `show the volume ${id}` })
    ).volume;
  }

  /** By id, or by a name that only one volume has. */
  async find(idOrName: string): Promise<{ readonly id: string }> {
    return this.#find("volume", idOrName);
  }

  async findSnapshot(idOrName: string): Promise<{ readonly id: string }> {
    return this.#find("snapshot", idOrName);
  }

  async #find(noun: "volume" | "snapshot", idOrName: string): Promise<{ readonly id: string }> {
    return find(noun, idOrName, async () => {
      const query = new URLSearchParams({ name: idOrName });
      const byName = await this.#session.json<Record<string, { id: string }[]>>("volume", "GET", `/${noun}s?${query}`, {
        what: `list the ${noun}s`,
      });
      const found = byName[`${noun}s`] ?? [];
      if (found.length > 0) return found;
      const byId = await this.#session.json<Record<string, { id: string }>>("volume", "GET", `/${noun}s/${encodeURIComponent(idOrName)}`, {
        what: `show the ${noun} ${idOrName}`,
      });
      return Object.values(byId);
    });
  }

  /** The answer comes at once; the volume is still `creating`. */
  async create(volume: { name: string; sizeGib: number; imageId: string }): Promise<Volume> {
    const json = { volume: { name: volume.name, size: volume.sizeGib, imageRef: volume.imageId } };
    return (
      await this.#session.json<{ volume: Volume }>("volume", "POST", "/volumes", { what: `create the volume "${volume.name}"`, json })
    ).volume;
  }

  /** Starts to make an image of the volume, and gives the image's id. */
  async uploadToImage(id: string, image: { name: string; diskFormat: string }): Promise<string> {
    const json = { "os-volume_upload_image": { image_name: image.name, disk_format: image.diskFormat, container_format: "bare" } };
    const answer = await this.#session.json<Record<string, { image_id: string }>>("volume", "POST", `/volumes/${id}/action`, {
      what: `upload the volume ${id}`,
      json,
    });
    return answer["os-volume_upload_image"]?.image_id ?? "";
  }

  async delete(id: string): Promise<void> {
    await this.#session.json("volume", "DELETE", `/volumes/${id}`, { what: `delete the volume ${id}` });
  }

  async waitForAvailable(id: string, signal?: AbortSignal): Promise<Volume> {
    return waitFor({
      what: `volume ${id}`,
      show: async () => this.show(id),
      isDone: ({ status }) => status === "available",
      isBroken: ({ status }) => status.startsWith("error"),
      signal,
    });
  }

  /** Waits until nothing is being done with the volume, whatever came of it. */
  async waitForRest(id: string): Promise<void> {
    const isDone = ({ status }: Volume) => !["creating", "downloading", "uploading"].includes(status);
    await waitFor({ what: `volume ${id}`, show: async () => this.show(id), isDone, isBroken: () => false });
  }

  /** Waits until the volume is gone. */
  async waitForDeleted(id: string, signal?: AbortSignal): Promise<void> {
    const show = async () =>
      this.show(id).catch((error: unknown) => {
        if (error instanceof ClientError && error.status === 404) return { status: "gone" };
        throw error;
      });
    await waitFor({
      what: `volume ${id}`,
      show,
      isDone: ({ status }) => status === "gone",
      isBroken: ({ status }) => status.startsWith("error"),
      signal,
    });
  }
}
