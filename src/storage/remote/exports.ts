import { randomUUID } from "node:crypto";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { type BlockNode, formatNode } from "#/domain/block-node.ts";
import type { DiskFormat } from "#/domain/disk.ts";
import { makeTemporaryFolder } from "#/lib/temporary-folder.ts";
import { ChunkReader, type RemoteBytes } from "#/storage/remote/chunks.ts";
import { type NbdExport, NbdServer } from "#/tools/nbd-server.ts";

export type OpenRemote = () => Promise<RemoteBytes>;

/**
 * Remote disks as QEMU reads them in place: from us, on a socket, and not by its own HTTP client. So the program that
 * parses hostile bytes has no network that those could lead it into; keys and signed URLs stay in this process; and each
 * request, redirect and retry is ours. An export has a name that nobody can guess, so that such a program reads no other.
 */
export class RemoteExports implements AsyncDisposable {
  readonly #remotes = new Map<string, OpenRemote>();
  /** By what is shown: a disk that is opened again has the same export. */
  readonly #names = new Map<string, string>();
  readonly #ended = new AbortController();
  readonly #onError: (error: unknown) => void;
  #server: Promise<NbdServer> | undefined;
  #folder: string | undefined;

  constructor(onError: (error: unknown) => void) {
    this.#onError = onError;
  }

  /** `open` is asked anew by each reader; it may hold no bytes meanwhile. */
  async node(of: string, format: DiskFormat, open: OpenRemote): Promise<BlockNode> {
    const { path } = await (this.#server ??= this.#listen());
    const name = this.#names.get(of) ?? randomUUID();
    this.#names.set(of, name);
    this.#remotes.set(name, open);
    return formatNode({ driver: "nbd", server: { type: "unix", path }, export: name }, format);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ended.abort();
    await (await this.#server)?.[Symbol.asyncDispose]();
    if (this.#folder) await rm(this.#folder, { recursive: true, force: true });
  }

  async #listen(): Promise<NbdServer> {
    this.#folder = await makeTemporaryFolder("remote");
    return NbdServer.listen(join(this.#folder, "nbd"), (name) => this.#find(name), this.#onError);
  }

  async #find(name: string): Promise<NbdExport | undefined> {
    const open = this.#remotes.get(name);
    return open && new ChunkReader(await open(), this.#ended.signal);
  }
}
