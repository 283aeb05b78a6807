import { createReadStream } from "node:fs";
import { MiB } from "#/lib/units.ts";
import type { MicaProcess } from "../test/support/mica-process.ts";
import { get, put } from "./streams.ts";

export async function queueImage(mica: MicaProcess, diskFormat: "raw" | "qcow2"): Promise<string> {
  const { id } = await mica.json("POST", "/image/v2/images", { body: { name: "disk", disk_format: diskFormat, container_format: "bare" } });
  return id;
}

export async function uploadImage(mica: MicaProcess, id: string, content: Iterable<Uint8Array> | AsyncIterable<Uint8Array>): Promise<void> {
  await put(`${mica.url}/image/v2/images/${id}/file`, { "x-auth-token": await mica.token() }, content);
}

export async function downloadImage(mica: MicaProcess, id: string): Promise<number> {
  return get(`${mica.url}/image/v2/images/${id}/file`, { "x-auth-token": await mica.token() });
}

/** An active image of the file's bytes. */
export async function addQcow2Image(mica: MicaProcess, path: string): Promise<string> {
  const id = await queueImage(mica, "qcow2");
  await uploadImage(mica, id, createReadStream(path, { highWaterMark: MiB }));
  return id;
}

export async function deleteImage(mica: MicaProcess, id: string): Promise<void> {
  await mica.json("DELETE", `/image/v2/images/${id}`, { status: 204 });
}
