import { open } from "node:fs/promises";

/** The end of a console's log as text, from a whole character on; empty where the file is not there yet. */
export async function tailOf(path: string, bytesMax: number): Promise<string> {
  const file = await open(path, "r").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw error;
  });
  if (!file) return "";
  await using opened = file;
  const { size } = await opened.stat();
  const bytes = Buffer.alloc(Math.min(bytesMax, size));
  const { bytesRead } = await opened.read(bytes, 0, bytes.length, size - bytes.length);
  return textFrom(bytes.subarray(0, bytesRead));
}

/** A cut may leave up to three bytes of a character of UTF-8 at the front. */
function textFrom(bytes: Buffer): string {
  const isContinuation = (at: number) => ((bytes[at] ?? 0) & 0xc0) === 0x80;
  let start = 0;
  while (start < 3 && isContinuation(start)) start += 1;
  return bytes.toString("utf8", start);
}
