import { getSystemErrorMap } from "node:util";
import { Semaphore } from "#/lib/semaphore.ts";

/**
 * Calls of the C library that Node does not offer. Each runs in the thread pool, like Node's own file calls. koffi does not keep
 * buffers alive during an asynchronous call: who gives one keeps it until the call has ended.
 */

/** Where the next data begins at or after `offset`; undefined where only a hole follows. lseek(2), SEEK_DATA. */
export async function nextData(fd: number, offset: number): Promise<number | undefined> {
  const { lseek } = await libc();
  try {
    return await lseek(fd, offset, SEEK_DATA);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENXIO") return undefined;
    throw error;
  }
}

/** Where the next hole begins at or after `offset`; the end of the file counts as one. lseek(2), SEEK_HOLE. */
export async function nextHole(fd: number, offset: number): Promise<number> {
  return (await libc()).lseek(fd, offset, SEEK_HOLE);
}

/**
 * Copies bytes between two files inside the kernel, or inside the file server, or by sharing blocks, as the file system
 * can. Returns how many, which may be fewer. Moves both files' positions: use descriptors of your own. copy_file_range(2).
 */
export async function copyFileRange(
  source: { readonly fd: number; readonly offset: number },
  target: { readonly fd: number; readonly offset: number },
  lengthBytes: number,
): Promise<number> {
  const { lseek, copy_file_range } = await libc();
  await lseek(source.fd, source.offset, SEEK_SET);
  await lseek(target.fd, target.offset, SEEK_SET);
  return copy_file_range(source.fd, null, target.fd, null, lengthBytes, 0);
}

/** Has the storage write zeroes, as fast as it can: many devices do it without a transfer. fallocate(2), FALLOC_FL_ZERO_RANGE. */
export async function zeroRange(fd: number, { start, end }: { readonly start: number; readonly end: number }): Promise<void> {
  await (await libc()).fallocate(fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, start, end - start);
}

const [FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE] = [0x01, 0x10] as const;
/** An ioctl(2) whose argument is a structure that is read and written in place; it is the answer too, which keeps it alive until then. */
export async function ioctl(fd: number, request: number, argument: Buffer<ArrayBuffer>): Promise<Buffer<ArrayBuffer>> {
  await (await libc()).ioctl(fd, request, argument);
  return argument;
}

const [SEEK_SET, SEEK_DATA, SEEK_HOLE] = [0, 3, 4] as const;

interface Libc {
  lseek(fd: number, offset: number, whence: number): Promise<number>;
  copy_file_range(source: number, at: null, target: number, to: null, lengthBytes: number, flags: number): Promise<number>;
  ioctl(fd: number, request: number, argument: Buffer): Promise<number>;
  fallocate(fd: number, mode: number, offset: number, lengthBytes: number): Promise<number>;
}

/** koffi refuses a call beyond 256 at once, and the thread pool has four threads. */
const calls = new Semaphore(64);

let loaded: Promise<Libc> | undefined;

/** Loaded at first use: it takes 25 ms, which a start can do without. */
function libc(): Promise<Libc> {
  return (loaded ??= load());
}

async function load(): Promise<Libc> {
  const { default: koffi } = await import("koffi");
  const library = koffi.load("libc.so.6");
  const call = (prototype: string) => {
    const native = library.func(prototype);
    return async (...args: unknown[]) => {
      using _ = await calls.take();
      return await new Promise<number>((resolve, reject) => {
        native.async(...args, (error: unknown, result: number) => {
          const number = koffi.errno(); // First of all: the next call changes it.
          if (error) reject(error);
          else if (result < 0) reject(systemError(number, prototype));
          else resolve(result);
        });
      });
    };
  };
  return {
    lseek: call("int64_t lseek(int, int64_t, int)"),
    ioctl: call("int ioctl(int, unsigned long, void *)"),
    copy_file_range: call("int64_t copy_file_range(int, void *, int, void *, size_t, unsigned int)"),
    fallocate: call("int fallocate(int, int, int64_t, int64_t)"),
  };
}

/** An error as Node's own file calls report it. */
export function systemError(number: number, prototype: string): NodeJS.ErrnoException {
  const [code, description] = getSystemErrorMap().get(-number) ?? ["UNKNOWN", `error ${number}`];
  const syscall = /(\w+)\(/.exec(prototype)?.[1] ?? prototype;
  return Object.assign(new Error(`${code}: ${description}, ${syscall}`), { code, errno: -number, syscall });
}
