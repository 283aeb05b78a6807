import { randomFillSync } from "node:crypto";
import { open, rm } from "node:fs/promises";
import { join } from "node:path";
import { KiB, MINUTE_MS, MiB } from "#/lib/units.ts";
import { run } from "#/tools/run.ts";

const timeoutMs = 5 * MINUTE_MS;

export interface DiskShape {
  readonly virtualSizeBytes: number;
  /** Random bytes, in pieces spread over the first GiB and a half. */
  readonly dataBytes: number;
}

/** A qcow2 file as `qemu-img convert` makes it. */
export async function makeQcow2(folder: string, name: string, { virtualSizeBytes, dataBytes }: DiskShape): Promise<string> {
  const [raw, qcow2] = [join(folder, `${name}.raw`), join(folder, `${name}.qcow2`)];
  await writeScattered(raw, virtualSizeBytes, dataBytes);
  await run("qemu-img", ["convert", "-f", "raw", "-O", "qcow2", raw, qcow2], { timeoutMs });
  await rm(raw);
  return qcow2;
}

/** A raw file that compresses to about half, as disks do: random bytes and text by turns. The rest of it is a hole. */
export async function writeCompressible(path: string, { virtualSizeBytes, dataBytes }: DiskShape): Promise<void> {
  await using file = await open(path, "w");
  await file.truncate(virtualSizeBytes);
  const piece = Buffer.alloc(PIECE_BYTES);
  for (let done = 0; done < dataBytes; done += PIECE_BYTES) {
    for (let at = 0; at < PIECE_BYTES; at += 8 * KiB) {
      randomFillSync(piece, at, 4 * KiB);
      piece.fill(`line ${at} of the file\n`, at + 4 * KiB, at + 8 * KiB);
    }
    await file.write(piece, 0, PIECE_BYTES, done * 2);
  }
}

const PIECE_BYTES = 4 * MiB;

async function writeScattered(path: string, virtualSizeBytes: number, dataBytes: number): Promise<void> {
  await using file = await open(path, "w");
  await file.truncate(virtualSizeBytes);
  const piece = Buffer.alloc(PIECE_BYTES);
  const stride = Math.floor(Math.min(3 * PIECE_BYTES, virtualSizeBytes / Math.ceil(dataBytes / PIECE_BYTES)) / 4096) * 4096;
  for (let at = 0, done = 0; done < dataBytes; at += stride, done += PIECE_BYTES) {
    await file.write(randomFillSync(piece), 0, Math.min(PIECE_BYTES, dataBytes - done), at);
  }
}

/** Bytes that the files of a folder take, by name. */
export async function allocatedBytes(folder: string): Promise<number> {
  const { stdout } = await run("du", ["--summarize", "--block-size=1", folder], { timeoutMs });
  return Number.parseInt(stdout, 10);
}

export async function qemuImg(...args: readonly string[]): Promise<void> {
  await run("qemu-img", args, { timeoutMs });
}
