import { mkdir, mkdtemp, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { MINUTE_MS } from "#/lib/units.ts";
import { operationCounts } from "#/storage/nfs/mount-stats.ts";
import { run } from "#/tools/run.ts";

/** Of the guest of `kernel-vm.sh`: what is mounted and started here ends with it, and is never taken down. */
const EXPORTS = "/srv";
const MAKERS = { xfs: ["mkfs.xfs", "-q", "-f"], ext4: ["mkfs.ext4", "-q", "-F"] } as const;
export type ExportKind = keyof typeof MAKERS;

/** The kernel's own NFS server, for version 4.2 alone, so that no portmapper is needed. It exports a file system of each kind. */
export class NfsServer {
  static async start(kinds: readonly ExportKind[]): Promise<NfsServer> {
    await command("modprobe", "-a", "nfsd", "nfsv4");
    await command("mount", "-t", "tmpfs", "tmpfs", EXPORTS);
    const disks = (process.env.KERNEL_VM_DISKS ?? "").split(" ");
    for (const [index, kind] of kinds.entries()) await mountDisk(kind, disks[index] ?? "");
    await mkdir("/var/lib/nfs/rpc_pipefs", { recursive: true });
    await command("mount", "-t", "nfsd", "nfsd", "/proc/fs/nfsd");
    await command("mount", "-t", "rpc_pipefs", "rpc_pipefs", "/var/lib/nfs/rpc_pipefs");
    const paths = [EXPORTS, ...kinds.map((kind) => join(EXPORTS, kind))];
    const exports = paths.map((path, id) => `${path} 127.0.0.1(rw,no_root_squash,no_subtree_check,fsid=${id})\n`);
    await writeFile("/etc/exports", exports.join(""));
    for (const table of ["etab", "rmtab"]) await writeFile(join("/var/lib/nfs", table), "");
    await command("exportfs", "-ra");
    await command("rpc.mountd", "-N", "3");
    const server = new NfsServer();
    await server.resume();
    await server.endGrace();
    return server;
  }

  /** Grace and lease are as short as they may be: clients of a server that starts wait that long. */
  async resume(): Promise<void> {
    await command("rpc.nfsd", "-N", "3", "-V", "4.2", "-G", "10", "-L", "10", "4");
  }

  /** Clients that have nothing to claim again need not wait: nfsd(7), v4_end_grace. */
  async endGrace(): Promise<void> {
    await writeFile("/proc/fs/nfsd/v4_end_grace", "Y");
  }

  /** Ends the server's threads: clients wait for an answer. */
  async pause(): Promise<void> {
    await command("rpc.nfsd", "0");
  }

  /** Where the server itself has the file system of an export. */
  folder(kind: ExportKind): string {
    return join(EXPORTS, kind);
  }

  /** Mounts an export over NFS; the folder. */
  async mount(kind: ExportKind, options = "hard", version = "4.2"): Promise<string> {
    const folder = await mkdtemp(`/mnt/${kind}-`);
    await command("mount", "-t", "nfs", "-o", `vers=${version},proto=tcp,${options}`, `127.0.0.1:/${kind}`, folder);
    return folder;
  }
}

/** How often those operations that move bytes went over the wire during the work. */
export async function sentMeanwhile(mount: string, work: () => Promise<unknown>): Promise<Record<string, number>> {
  const before = await operationCounts(mount);
  await work();
  const after = await operationCounts(mount);
  return Object.fromEntries(["CLONE", "COPY", "READ", "WRITE"].map((name) => [name, (after.get(name) ?? 0) - (before.get(name) ?? 0)]));
}

async function mountDisk(kind: ExportKind, disk: string): Promise<void> {
  const [program, ...args] = MAKERS[kind];
  const folder = join(EXPORTS, kind);
  await command(program, ...args, disk);
  await mkdir(folder);
  await command("mount", disk, folder);
}

async function command(program: string, ...args: string[]): Promise<void> {
  await run(program, args, { timeoutMs: MINUTE_MS });
}
