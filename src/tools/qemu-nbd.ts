import { rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { BlockNode } from "#/domain/block-node.ts";
import { throwIfCancelled } from "#/domain/cancel.ts";
import { AppError } from "#/domain/errors.ts";
import { makeTemporaryFolder } from "#/lib/temporary-folder.ts";
import { GiB, HOUR_MS, SECOND_MS } from "#/lib/units.ts";
import { NbdClient } from "#/tools/nbd.ts";
import { changedFiles, jsonFilename, objectArguments, reachOf } from "#/tools/qemu-img.ts";
import { type RunOptions, run } from "#/tools/run.ts";

/** A day: the slowest download must end some time. With 1 GiB of address space librbd fails writes, with EINVAL, when many are under way. */
const SERVE_LIMITS = { timeoutMs: 24 * HOUR_MS, addressSpaceBytes: 2 * GiB, cpuSeconds: 24 * 3600 };
/** A guest has its disk for years, and every connection with it takes room for requests of 32 MiB. */
const SHARED_LIMITS = { timeoutMs: Number.POSITIVE_INFINITY, addressSpaceBytes: 16 * GiB, cpuSeconds: 100 * 365 * 24 * 3600 };
/** It is ready after 30 ms, in a crowd after some hundred. */
const READY_MS_MAX = 30 * SECOND_MS;
/** It ends some milliseconds after its client; where the storage does not answer, never. */
const LEAVE_MS_MAX = 5 * SECOND_MS;

/** What a guest sees in a disk, at any offset. Several reads may be under way at once. */
export interface DiskReader extends AsyncDisposable {
  readonly sizeBytes: number;
  /** Fills the buffer. `zero`: all of it is a hole, and the buffer was left as it was. */
  read(buffer: Uint8Array, offset: number): Promise<{ readonly zero: boolean }>;
}

/**
 * Opens a disk of any format through a confined qemu-nbd of its own, which ends with the reader. `signal` ends both. Costs
 * some 40 ms. Errors, also of `read()`: as `run()`.
 */
export async function openReader(node: BlockNode, { signal }: Pick<RunOptions, "signal"> = {}): Promise<DiskReader> {
  return open(node, "read", signal);
}

/** What a guest sees in a disk, which can be written to at any offset. Several writes may be under way at once. */
export interface RawWriter extends AsyncDisposable {
  readonly sizeBytes: number;
  write(bytes: Uint8Array, offset: number): Promise<void>;
  /** Makes a range read as zeroes, at most 4 GiB - 1 long; space that it took is freed where the storage can. */
  writeZeroes(offset: number, lengthBytes: number): Promise<void>;
  /** All that was written is on stable storage. */
  flush(): Promise<void>;
}

/** As `openReader()`. The bytes must be there in that length, and nobody else may write to them. */
export async function openWriter(node: BlockNode, { signal }: Pick<RunOptions, "signal"> = {}): Promise<RawWriter> {
  return open(node, "write", signal);
}

/** A disk on a socket, for several clients. */
export interface DiskServer extends AsyncDisposable {
  /** Of the socket. */
  readonly path: string;
}

/**
 * A confined qemu-nbd that shows the disk under a name to all who connect, and ends when it is disposed of and they have left. It is ready, and has the disk open.
 * Its clients may live on when it is killed, and would never write again what it had answered and not kept: so it writes through, also the metadata of an overlay. Errors: as `run()`.
 */
export async function serveDisk(node: BlockNode, { mode, name, cache = "writethrough" }: Required<Pick<Serving, "mode" | "name">> & Pick<Serving, "cache">): Promise<DiskServer> {
  await using undo = new AsyncDisposableStack();
  const server = undo.use(await serve(node, { mode, name, cache, limits: SHARED_LIMITS }));
  undo.use(await server.connect()); // While we are connected ourselves, it does not end between two others.
  const resources = undo.move();
  return { path: server.path, [Symbol.asyncDispose]: () => resources.disposeAsync() };
}

async function open(node: BlockNode, mode: "read" | "write", signal: AbortSignal | undefined): Promise<DiskReader & RawWriter> {
  await using undo = new AsyncDisposableStack();
  const server = undo.use(await serve(node, { mode }));
  const client = undo.use(await server.connect(signal));
  const leave = () => void client[Symbol.asyncDispose]();
  signal?.addEventListener("abort", leave);
  undo.defer(() => signal?.removeEventListener("abort", leave));
  const resources = undo.move();
  const explain = (error: unknown) => {
    throwIfCancelled(signal);
    return server.explain(error);
  };
  return {
    sizeBytes: client.sizeBytes,
    read: (buffer, offset) => client.read(buffer, offset).catch(explain),
    write: (bytes, offset) => client.write(bytes, offset).catch(explain),
    writeZeroes: (offset, lengthBytes) => client.writeZeroes(offset, lengthBytes).catch(explain),
    flush: () => client.flush().catch(explain),
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}

interface Serving {
  readonly mode: "read" | "write";
  /** Under which any number of clients find the disk; without it, there is one. */
  readonly name?: string | undefined;
  readonly cache?: "writethrough" | "writeback" | undefined;
  readonly limits?: typeof SERVE_LIMITS | undefined;
}

/**
 * A qemu-nbd that serves the node on a socket in a folder of its own. It ends by itself when its client leaves, which gives
 * back what it holds of a disk; killed, it would leave a lock of half a minute on an image in Ceph.
 */
async function serve(node: BlockNode, { mode, name, cache, limits = SERVE_LIMITS }: Serving) {
  const folder = await makeTemporaryFolder("nbd");
  const socket = join(folder, "socket");
  const stop = new AbortController();
  const ended = run("qemu-nbd", serveArguments(node, { mode, name, cache }, socket), {
    timeoutMs: limits.timeoutMs,
    signal: stop.signal,
    confine: { ...limits, ...reachOf([node]), writable: [folder, ...(mode === "write" ? changedFiles(node) : [])] },
  });
  ended.catch(() => stop.abort());
  let isLeft = false;
  return {
    path: socket,
    async connect(signal?: AbortSignal) {
      const stopped = signal ? AbortSignal.any([signal, stop.signal]) : stop.signal;
      const client = await connectWhenReady(socket, name, stopped).catch((error: unknown) => {
        throwIfCancelled(signal);
        return explain(error, ended);
      });
      isLeft = true;
      return client;
    },
    explain: (error: unknown) => explain(error, ended),
    async [Symbol.asyncDispose]() {
      const gone = ended.catch(() => {});
      if (isLeft) await Promise.race([gone, sleep(LEAVE_MS_MAX, undefined, { ref: false })]);
      stop.abort();
      await gone;
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Where the connection broke because the server failed, the server's own reason is the better one. */
async function explain(error: unknown, ended: Promise<unknown>): Promise<never> {
  await Promise.race([ended, sleep(SECOND_MS, undefined, { ref: false })]);
  throw error;
}

/** Without `unmap`, zeroes would take space, and as much time as data (block/rbd.c: RBD_WRITE_ZEROES_FLAG_THICK_PROVISION). */
export function serveArguments(node: BlockNode, { mode, name, cache = "writeback" }: Omit<Serving, "limits">, socket: string): string[] {
  const shared = name === undefined ? [] : ["--shared=0", `--export-name=${name}`]; // 0 is any number.
  const access = mode === "read" ? ["--read-only"] : ["--discard=unmap", `--cache=${cache}`];
  return [...objectArguments([node]), ...access, ...shared, "--socket", socket, jsonFilename(node)];
}

async function connectWhenReady(socket: string, name: string | undefined, stopped: AbortSignal): Promise<NbdClient> {
  const limitMs = performance.now() + READY_MS_MAX;
  for (let waitMs = 2; ; waitMs = Math.min(2 * waitMs, 50)) {
    try {
      return await NbdClient.connect(socket, name);
    } catch (error) {
      const isEarly = ["ENOENT", "ECONNREFUSED"].includes((error as NodeJS.ErrnoException).code ?? "");
      if (!isEarly || stopped.aborted) throw new AppError("tool_failed", "cannot connect to qemu-nbd", { cause: error });
      if (performance.now() > limitMs) throw new AppError("tool_timed_out", "qemu-nbd did not get ready", { cause: error });
      await sleep(waitMs);
    }
  }
}
