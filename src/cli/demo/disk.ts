/**
 * The disk of the demonstration, made with the tools that make real ones: a partition table, a boot flag, an ext4 file system with
 * files. No mount is needed: mke2fs fills the file system from a folder, and debugfs reads and writes files in it.
 */
import { execFile } from "node:child_process";
import { createHash, randomFillSync } from "node:crypto";
import { createReadStream } from "node:fs";
import { type FileHandle, mkdir, open, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { ClientError } from "#/client/errors.ts";
import { KiB, MiB, MINUTE_MS } from "#/lib/units.ts";

/** Where the partition begins: 1 MiB, as every installer of today aligns it. */
const PARTITION_START = MiB;

const FILES: Readonly<Record<string, string>> = {
  "etc/hostname": "mica-demo\n",
  "etc/os-release": 'NAME="Mica demonstration"\nID=mica-demo\n',
  "etc/fstab": "LABEL=root / ext4 defaults 0 1\n",
  "boot/grub/grub.cfg": "linux /boot/vmlinuz root=LABEL=root ro\n",
};

/** Makes the raw disk; `dataBytes` of it are a file of noise that no format can shrink. */
export async function makeDisk(
  path: string,
  sizes: { virtualSizeBytes: number; dataBytes: number },
  folder: string,
  signal: AbortSignal,
): Promise<void> {
  await makeTree(folder, sizes.dataBytes);
  await writeFile(path, "");
  await truncate(path, sizes.virtualSizeBytes);
  await run("sfdisk", ["--quiet", path], signal, `label: dos\nstart=${PARTITION_START / 512}, type=83, bootable\n`);
  const blocks = `${(sizes.virtualSizeBytes - PARTITION_START) / KiB}k`;
  const options = `offset=${PARTITION_START},lazy_itable_init=1,root_owner=0:0`;
  await run("mke2fs", ["-q", "-t", "ext4", "-L", "root", "-m", "0", "-d", folder, "-E", options, path, blocks], signal);
}

async function makeTree(folder: string, dataBytes: number): Promise<void> {
  for (const [name, text] of Object.entries(FILES)) {
    const path = join(folder, name);
    await mkdir(join(path, ".."), { recursive: true });
    await writeFile(path, text);
  }
  await mkdir(join(folder, "var", "lib"), { recursive: true });
  await using noise = await open(join(folder, "var", "lib", "data.bin"), "w");
  await writeNoise(noise, dataBytes);
}

async function writeNoise(file: FileHandle, sizeBytes: number): Promise<void> {
  const block = Buffer.alloc(MiB);
  for (let left = sizeBytes; left > 0; left -= block.length) await file.write(randomFillSync(block), 0, Math.min(left, block.length));
}

export async function toQcow2(from: string, to: string, signal: AbortSignal): Promise<void> {
  await run("qemu-img", ["convert", "-f", "raw", "-O", "qcow2", from, to], signal);
}

/** The raw content of a disk that came back as qcow2. */
export async function toRaw(from: string, to: string, signal: AbortSignal): Promise<void> {
  await run("qemu-img", ["convert", "-f", "qcow2", "-O", "raw", from, to], signal);
}

/** Writes a file into the file system of the raw disk, over the one of that name. */
export async function changeFile(disk: string, name: string, text: string, scratch: string, signal: AbortSignal): Promise<void> {
  await writeFile(scratch, text);
  const script = `rm ${name}\nwrite ${scratch} ${name}\n`;
  await run("debugfs", ["-w", "-f", "-", `${disk}?offset=${PARTITION_START}`], signal, script);
}

export async function readFileIn(disk: string, name: string, signal: AbortSignal): Promise<string> {
  return run("debugfs", ["-R", `cat ${name}`, `${disk}?offset=${PARTITION_START}`], signal);
}

/** Throws where the file system of the disk is broken. */
export async function checkFileSystem(disk: string, signal: AbortSignal): Promise<void> {
  await run("e2fsck", ["-f", "-n", `${disk}?offset=${PARTITION_START}`], signal);
}

/** Of the file's bytes, or of them and zeroes up to `sizeBytes`. */
export async function sha512(path: string, sizeBytes = 0): Promise<string> {
  const hash = createHash("sha512");
  let hashedBytes = 0;
  for await (const chunk of createReadStream(path, { highWaterMark: MiB }) as AsyncIterable<Buffer>) {
    hash.update(chunk);
    hashedBytes += chunk.length;
  }
  const zeroes = Buffer.alloc(MiB);
  for (let left = sizeBytes - hashedBytes; left > 0; left -= MiB) hash.update(zeroes.subarray(0, Math.min(left, MiB)));
  return hash.digest("hex");
}

async function run(program: string, args: readonly string[], signal: AbortSignal, input = ""): Promise<string> {
  // Debian keeps the file system tools where only root's PATH has them.
  const env = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin`, LC_ALL: "C" };
  try {
    const running = promisify(execFile)(program, args, { env, signal, timeout: 5 * MINUTE_MS, maxBuffer: MiB });
    // A program that reads nothing may be gone before us; what it thought of its task is in its exit code.
    running.child.stdin?.on("error", () => {}).end(input || undefined);
    return (await running).stdout;
  } catch (cause) {
    const { code, stderr = "" } = cause as { code?: string; stderr?: string };
    if (code === "ENOENT")
      throw new ClientError("operation_failed", `The program ${program} is missing.`, { cause, fix: "Run: make install" });
    throw new ClientError("operation_failed", `${program} failed: ${stderr.trim() || String(cause)}`, { cause });
  }
}
