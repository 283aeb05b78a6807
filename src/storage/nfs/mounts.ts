import { readFile } from "node:fs/promises";

/** A mounted NFS export, as the kernel tells of it. */
export interface NfsMount {
  readonly mountPoint: string;
  /** As the administrator wrote it: a name or an address. */
  readonly server: string;
  /** The address that it stands for. */
  readonly address: string | undefined;
  /** The path on the server, for NFSv4 from its root. */
  readonly export: string;
  /** "4.2", "3", … */
  readonly version: string;
  /** What happens when the server does not answer: `hard` waits for ever, `soft` and `softerr` give up. */
  readonly patience: "hard" | "soft" | "softerr";
}

/** A mounted file system, NFS or other. */
export interface Mount {
  readonly mountPoint: string;
  /** The number of the file system: mounts of one export on several folders have the same. */
  readonly device: string;
  readonly nfs: NfsMount | undefined;
}

/** What is mounted on this machine. The table is read from memory: no server is asked, and a dead one does not matter. */
export async function mountTable(): Promise<Mount[]> {
  return parseMountInfo(await readFile("/proc/self/mountinfo", "utf8"));
}

/** The mount that an absolute path without links lies on, by its name alone. A later mount covers an earlier one. */
export function mountOf(path: string, mounts: readonly Mount[]): Mount {
  const around = mounts.filter(({ mountPoint }) => isInside(path, mountPoint));
  const [first, ...others] = around;
  if (!first) throw new Error(`Broken invariant: ${path} is on no mount`);
  return others.reduce((longest, mount) => (mount.mountPoint.length >= longest.mountPoint.length ? mount : longest), first);
}

export function isInside(path: string, folder: string): boolean {
  return folder === "/" || path === folder || path.startsWith(`${folder}/`);
}

/** proc_pid_mountinfo(5): `36 35 98:0 / /mnt rw - nfs4 server:/export rw,vers=4.2,hard,…`. */
export function parseMountInfo(text: string): Mount[] {
  return text.split("\n").flatMap((line) => {
    const [before = "", after] = line.split(" - ");
    if (after === undefined) return [];
    const [, , device = "", , path = ""] = before.split(" ");
    const mountPoint = withoutEscapes(path);
    return [{ mountPoint, device, nfs: asNfs(mountPoint, after) }];
  });
}

function asNfs(mountPoint: string, text: string): NfsMount | undefined {
  const [type = "", source = "", options = ""] = text.split(" ");
  if (type !== "nfs" && type !== "nfs4") return undefined;
  const [, server, path] = /^(\[.*?\]|[^:]*):(.*)$/.exec(withoutEscapes(source)) ?? [];
  if (server === undefined || path === undefined) return undefined;
  const values = new Map(options.split(",").map((option) => [option.split("=", 1)[0], option.slice(option.indexOf("=") + 1)]));
  return {
    ...{ mountPoint, server: bare(server), export: path, address: values.get("addr") },
    version: values.get("vers") ?? "3",
    patience: values.has("softerr") ? "softerr" : values.has("soft") ? "soft" : "hard",
  };
}

/** An IPv6 address without its brackets. */
function bare(server: string): string {
  return server.replace(/^\[(.*)\]$/, "$1");
}

/** The kernel writes spaces, tabs, line ends and backslashes as octal numbers. */
function withoutEscapes(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}
