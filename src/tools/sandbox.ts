import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { GiB, SECOND_MS } from "#/lib/units.ts";

/** What a program that reads untrusted bytes may use. */
export interface Confinement {
  /** RLIMIT_AS. */
  readonly addressSpaceBytes: number;
  /** RLIMIT_CPU: seconds of processor time, of all its threads together. */
  readonly cpuSeconds: number;
  /** Absolute paths that it may read. Nothing else but /usr exists for it. */
  readonly readable: readonly string[];
  /** Absolute paths that it may also write. All of these must exist. */
  readonly writable: readonly string[];
  /** It may use the network, and see how names are looked up. Without this it has none. */
  readonly network?: boolean | undefined;
}

/**
 * What this machine lets us do. `namespaces`: bubblewrap gives a program its own file tree, network and process
 * table, all but empty. `limits`: only the resource limits hold, and `because` says what stood in the way.
 */
export type Sandbox = { readonly kind: "namespaces" } | { readonly kind: "limits"; readonly because: string };

let probed: Promise<Sandbox> | undefined;

/** The sandbox of this machine, probed at the first call. */
export function sandbox(): Promise<Sandbox> {
  return (probed ??= probe());
}

/** The command with what ends it when we end (not where that is to be gentle) and, where it is confined, keeps it in its limits. Pure. */
export function confinedCommand(
  { kind }: Pick<Sandbox, "kind">,
  command: readonly string[],
  { confine, gentle = false }: { readonly confine?: Confinement | undefined; readonly gentle?: boolean | undefined } = {},
): string[] {
  if (!confine) return gentle ? [...command] : [...DIE_WITH_US, ...command];
  const limits = limitArguments(confine);
  if (kind === "limits") return [...DIE_WITH_US, ...limits, ...command];
  return [...limits, "bwrap", ...NAMESPACES, ...(confine.network ? NETWORK : []), ...pathArguments(confine), "--", ...command];
}

/**
 * PR_SET_PDEATHSIG: the kernel kills the program when we die, also by SIGKILL. It watches the thread that started
 * the program, so programs are started from the main thread only (prctl(2)).
 */
const DIE_WITH_US = ["setpriv", "--pdeathsig", "KILL", "--no-new-privs", "--"] as const;

/** /bin, /lib and the like are links into /usr on every Debian since 12; the probe finds out where they are not. */
const NAMESPACES = [
  "--unshare-all",
  "--die-with-parent",
  ...["--ro-bind", "/usr", "/usr"],
  ...["--symlink", "usr/bin", "/bin"],
  ...["--symlink", "usr/sbin", "/sbin"],
  ...["--symlink", "usr/lib", "/lib"],
  ...["--symlink", "usr/lib64", "/lib64"],
  // QEMU tries its file locks on it (util/osdep.c, qemu_probe_lock_ops).
  ...["--dev-bind", "/dev/null", "/dev/null"],
] as const;

const NETWORK = [
  "--share-net",
  ...["/etc/hosts", "/etc/nsswitch.conf", "/etc/resolv.conf"].flatMap((path) => ["--ro-bind-try", path, path]),
] as const;

function limitArguments({ addressSpaceBytes, cpuSeconds }: Confinement): string[] {
  // SIGXCPU, which tells us why it ended, comes at the first number, SIGKILL at the second.
  const cpu = `--cpu=${cpuSeconds}:${cpuSeconds + 2}`;
  return ["prlimit", `--as=${addressSpaceBytes}`, cpu, "--core=0", "--"];
}

function pathArguments({ readable, writable }: Confinement): string[] {
  const readOnly = readable.filter((path) => !writable.includes(path));
  return [...readOnly.flatMap((path) => [bind(path, "--ro-bind"), path, path]), ...writable.flatMap((path) => [bind(path, "--bind"), path, path])];
}

/** Devices work only where they are bound as such, and then their own permissions count: bubblewrap has no read-only way for them. */
function bind(path: string, otherwise: string): string {
  return path.startsWith("/dev/") && !path.startsWith("/dev/shm/") ? "--dev-bind" : otherwise;
}

/** Containers often forbid user namespaces, and some machines have no bubblewrap. */
async function probe(): Promise<Sandbox> {
  const trial: Confinement = { addressSpaceBytes: GiB, cpuSeconds: 5, readable: [], writable: [] };
  const [file, ...rest] = confinedCommand({ kind: "namespaces" }, ["true"], { confine: trial });
  try {
    await promisify(execFile)(file as string, rest, { timeout: 10 * SECOND_MS, cwd: "/" });
    return { kind: "namespaces" };
  } catch (error) {
    return { kind: "limits", because: `bubblewrap does not work here: ${(error as Error).message.trim()}` };
  }
}
