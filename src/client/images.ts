import type { Session } from "./session.ts";
import { find, waitFor } from "./records.ts";

/** As much of an image as we look at (api-ref: Image v2, "Show image"). */
export interface Image {
  readonly id: string;
  readonly name: string | null;
  readonly status: string;
  readonly disk_format: string | null;
  readonly size: number | null;
  readonly virtual_size: number | null;
  readonly os_hash_value: string | null;
}

export class Images {
  readonly #session: Session;

  constructor(session: Session) {
    this.#session = session;
  }

  async show(id: string): Promise<Image> {
    return this.#session.json("image", "GET", `/images/${encodeURIComponent(id)}`, { what: `show the image ${id}` });
  }

  /** By id, or by a name that only one image has. */
  async find(idOrName: string): Promise<Image> {
    return find("image", idOrName, async () => {
      const query = new URLSearchParams({ name: idOrName });
      const byName = await this.#session.json<{ images: Image[] }>("image", "GET", `/images?${query}`, { what: "list the images" });
      return byName.images.length > 0 ? byName.images : [await this.show(idOrName)];
    });
  }

  async create(image: { name: string; diskFormat: string; properties?: Readonly<Record<string, string>> }): Promise<Image> {
    const json = { name: image.name, disk_format: image.diskFormat, container_format: "bare", ...image.properties };
    return this.#session.json("image", "POST", "/images", { what: `create the image "${image.name}"`, json });
  }

  async upload(id: string, body: ReadableStream<Uint8Array>, signal?: AbortSignal): Promise<void> {
    const headers = { "content-type": "application/octet-stream" };
    await this.#session.json("image", "PUT", `/images/${id}/file`, {
      what: `upload to the image ${id}`,
      body,
      headers,
      timeoutMs: 0,
      signal,
    });
  }

  async download(id: string, signal?: AbortSignal): Promise<ReadableStream<Uint8Array>> {
    const headers = { accept: "application/octet-stream" };
    const response = await this.#session.send("image", "GET", `/images/${id}/file`, {
      what: `download the image ${id}`,
      headers,
      timeoutMs: 0,
      signal,
    });
    return response.body ?? new Blob([]).stream();
  }

  async delete(id: string): Promise<void> {
    await this.#session.json("image", "DELETE", `/images/${id}`, { what: `delete the image ${id}` });
  }

  /** Waits until the image that a volume is being uploaded to is active. */
  async waitForMade(id: string, signal?: AbortSignal): Promise<Image> {
    const isBroken = ({ status }: Image) => ["killed", "deleted"].includes(status);
    return waitFor({ what: `image ${id}`, show: async () => this.show(id), isDone: ({ status }) => status === "active", isBroken, signal });
  }
}
