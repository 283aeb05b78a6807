import { type FileHandle, open } from "node:fs/promises";

/** The open file, or undefined where it is gone. */
export async function openIfThere(path: string): Promise<FileHandle | undefined> {
  try {
    return await open(path, "r");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

/** Keeps the files that were used last open, up to so many. */
export class OpenFiles implements AsyncDisposable {
  readonly #files = new Map<string, FileHandle>();
  readonly #countMax: number;

  constructor(countMax: number) {
    this.#countMax = countMax;
  }

  /** Undefined where the file is gone. Good until the next call. */
  async get(path: string): Promise<FileHandle | undefined> {
    const file = this.#files.get(path) ?? (await openIfThere(path));
    this.#files.delete(path);
    if (!file) return undefined;
    this.#files.set(path, file);
    if (this.#files.size > this.#countMax) await this.#closeOldest();
    return file;
  }

  async #closeOldest(): Promise<void> {
    for (const [path, file] of this.#files) {
      this.#files.delete(path);
      return file.close();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const file of this.#files.values()) await file.close();
    this.#files.clear();
  }
}
