import { AppError, asAppError } from "#/domain/errors.ts";
import type { Capacity, StorageDriver, WorkOptions } from "#/storage/driver.ts";
import { FileDriver } from "#/storage/file/driver.ts";
import { tellingErrors } from "#/storage/file/errors.ts";
import { type FolderClaim, claimFolder } from "#/storage/file/marker.ts";
import { mountOf, mountTable, type NfsMount } from "#/storage/nfs/mounts.ts";
import { type CopyOffload, probeCopyOffload } from "#/storage/nfs/probe.ts";
import { ShareWatch } from "#/storage/nfs/watch.ts";
import { ToolFailure, run } from "#/tools/run.ts";

export interface ShareOptions {
  /** Takes a folder that is not on NFS, too. */
  readonly allowLocal: boolean;
  /** How long the server has for an answer. */
  readonly answerTimeoutMs: number;
  readonly claim?: FolderClaim | undefined;
}

/** A folder on a mounted export: disks as files, guarded against a server that went away. */
export class Share {
  readonly path: string;
  /** Undefined where it is a folder of this machine. */
  readonly mount: NfsMount | undefined;
  /** Two folders of one mounted export have the same. */
  readonly device: string;
  readonly copyOffload: CopyOffload;
  readonly #files: FileDriver;
  readonly #watch: ShareWatch;

  private constructor(share: Pick<Share, "path" | "mount" | "device" | "copyOffload">, files: FileDriver, watch: ShareWatch) {
    this.path = share.path;
    this.mount = share.mount;
    this.device = share.device;
    this.copyOffload = share.copyOffload;
    this.#files = files;
    this.#watch = watch;
  }

  /** `path`: absolute, without symbolic links, since the mount is found by name. Errors: `pool_unavailable`, `pool_full`. */
  static async open(path: string, { allowLocal, answerTimeoutMs, claim }: ShareOptions): Promise<Share> {
    const { mountPoint, device, nfs: mount } = mountOf(path, await mountTable());
    if (!mount && !allowLocal) throw new AppError("pool_unavailable", `${path} is not an NFS mount: mount its export first`);
    const watch = new ShareWatch(() => ask(mountPoint, answerTimeoutMs, mount));
    return watch.guard({}, () =>
      tellingErrors(async () => {
        if (claim) await claimFolder(path, claim);
        const files = await FileDriver.open(path);
        return new Share({ path, mount, device, copyOffload: await probeCopyOffload(path, mount) }, files, watch);
      }),
    );
  }

  get can(): FileDriver["can"] {
    return this.#files.can;
  }

  get name(): string {
    return this.mount ? `${this.mount.server}:${this.mount.export}` : this.path;
  }

  /** Does work with the files, as long as the server answers. */
  run<Result>(options: WorkOptions | undefined, work: (files: StorageDriver, options: WorkOptions) => Promise<Result>): Promise<Result> {
    return this.#watch.guard(options ?? {}, (guarded) => work(this.#files, guarded));
  }

  /** The items of `begin`, each waited for only as long as the server answers. */
  async *each<Item>(begin: (files: FileDriver) => AsyncIterable<Item>): AsyncIterable<Item> {
    const items = begin(this.#files)[Symbol.asyncIterator]();
    let next: Promise<IteratorResult<Item>> | undefined;
    try {
      for (;;) {
        const item = await this.run({}, () => (next = items.next()));
        next = undefined;
        if (item.done) return;
        yield item.value;
      }
    } finally {
      // A generator that still waits for the kernel can't be closed before that ends: nobody waits for it.
      if (!next) await items.return?.();
      else void next.then(() => items.return?.()).catch(() => {});
    }
  }

  capacity(): Promise<Capacity> {
    return this.run({}, (files) => files.capacity());
  }
}

/** statfs(2) is always answered by the server, never from the client's memory. */
async function ask(path: string, timeoutMs: number, mount: NfsMount | undefined): Promise<void> {
  try {
    await run("stat", ["--file-system", "--format=%T", "--", path], { timeoutMs });
  } catch (error) {
    const known = asAppError(error);
    const because = known?.cause instanceof ToolFailure && known.code === "tool_failed" ? known.cause.stderr.trim() : `no answer in ${timeoutMs / 1000} s`;
    const hint = mount?.patience === "hard" ? " (it is mounted hard: what is under way waits until it is back)" : "";
    throw new AppError("pool_unavailable", `the server of ${path} is away: ${because}${hint}`, { cause: error });
  }
}
