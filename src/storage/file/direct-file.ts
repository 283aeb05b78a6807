import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { ALIGNMENT_BYTES, alignedBlocks } from "#/lib/aligned-memory.ts";

/**
 * A file or device that is written past the page cache: through it, the kernel's copying costs more processor time than all else
 * in an upload (2.4 against 1.1 seconds per GiB). Writes begin at multiples of 4096 and end there, but for the last one, which is
 * padded with zeroes.
 */
export class DirectFile {
  readonly handle: FileHandle;
  readonly #path: string;
  readonly #opensDirect: boolean;
  #isDirect: boolean;
  #buffered: Promise<FileHandle> | undefined;

  private constructor(path: string, handle: FileHandle, isDirect: boolean) {
    this.#path = path;
    this.handle = handle;
    this.#opensDirect = isDirect;
    this.#isDirect = isDirect;
  }

  /** `direct`: false where the file system has no O_DIRECT. */
  static async open(path: string, { direct }: { readonly direct: boolean }): Promise<DirectFile> {
    return new DirectFile(path, await open(path, constants.O_WRONLY | (direct ? constants.O_DIRECT : 0)), direct);
  }

  async write(run: Uint8Array, offset: number): Promise<void> {
    const alignedBytes = run.length - (run.length % ALIGNMENT_BYTES);
    if (alignedBytes > 0) await this.#writeAligned(run.subarray(0, alignedBytes), offset);
    if (alignedBytes < run.length) await this.#writeAligned(padded(run.subarray(alignedBytes)), offset + alignedBytes);
  }

  async close(): Promise<void> {
    await this.handle.close();
    await (await this.#buffered)?.close();
  }

  async #writeAligned(run: Uint8Array, offset: number): Promise<void> {
    if (!this.#isDirect) return writeAll(await this.#withCache(), run, offset);
    try {
      await writeAll(this.handle, run, offset);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EINVAL") throw error;
      this.#isDirect = false; // The caller's memory is not aligned, or this disk has larger blocks: correct, only slower.
      await writeAll(await this.#withCache(), run, offset);
    }
  }

  #withCache(): Promise<FileHandle> | FileHandle {
    return this.#opensDirect ? (this.#buffered ??= open(this.#path, "r+")) : this.handle;
  }
}

function padded(tail: Uint8Array): Uint8Array {
  const [block] = alignedBlocks(1, ALIGNMENT_BYTES) as [Uint8Array];
  block.set(tail);
  return block;
}

/** A write may end early, where the disk is nearly full or the call was interrupted. */
async function writeAll(file: FileHandle, bytes: Uint8Array, offset: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const { bytesWritten } = await file.write(bytes, done, bytes.length - done, offset + done);
    done += bytesWritten;
  }
}
