/**
 * Names in package-lock.json the optional packages of other platforms that a registry mirror did not have: without
 * them `npm ci` takes the lockfile for stale and stops. Such an entry has no checksum, and needs none: it is for
 * platforms that Mica does not run on, so nobody ever fetches it. Entries for Linux with glibc on x64 and arm64 must come
 * from the registry, with their checksums.
 *
 *     node scripts/complete-lockfile.ts [--check]
 */
import { readFileSync, writeFileSync } from "node:fs";

const FILE = "package-lock.json";

interface Entry {
  readonly version: string;
  readonly dev?: boolean;
  readonly optional?: boolean;
  readonly os?: readonly string[];
  readonly cpu?: readonly string[];
  readonly libc?: readonly string[];
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}
interface Lockfile {
  packages: Record<string, Entry>;
}

const lockfile = JSON.parse(readFileSync(FILE, "utf8")) as Lockfile;
const absent = findAbsent(lockfile);
const ours = absent.filter(([name]) => /linux.*(x64|arm64)/.test(name) && !name.endsWith("musl"));

if (ours.length > 0) fail(`${FILE} lacks packages that Mica runs on: ${ours.map(([name]) => name).join(", ")}`);
if (absent.length > 0 && process.argv.includes("--check")) fail(`${FILE} is not complete: run \`node scripts/complete-lockfile.ts\``);
if (absent.length > 0) {
  for (const [path, entry] of absent) lockfile.packages[path] = entry;
  lockfile.packages = Object.fromEntries(Object.entries(lockfile.packages).sort(([a], [b]) => (a < b ? -1 : 1)));
  writeFileSync(FILE, `${JSON.stringify(lockfile, null, 2)}\n`);
  process.stdout.write(`Named ${absent.length} packages of other platforms.\n`);
}

function findAbsent({ packages }: Lockfile): [string, Entry][] {
  return Object.values(packages).flatMap(({ dev, optionalDependencies = {} }) =>
    Object.entries(optionalDependencies)
      .filter(([name]) => !(`node_modules/${name}` in packages))
      .map(([name, version]): [string, Entry] => [`node_modules/${name}`, withoutChecksum(name, version, dev)]),
  );
}

/** Package names of platforms are like "@oxlint/binding-linux-arm64-musl"; npm skips what does not fit `os`, `cpu` and `libc`. */
function withoutChecksum(name: string, version: string, dev: boolean | undefined): Entry {
  if (name.endsWith("-wasm32-wasi")) return { version, cpu: ["wasm32"], ...(dev ? { dev } : {}), optional: true };
  const [, os, cpu] = /(?:^|[/-])(aix|android|darwin|freebsd|linux|openharmony|win32)-(\w+)/.exec(name) ?? [];
  if (!os || !cpu) return fail(`Cannot tell the platform of ${name}`);
  const libc = name.endsWith("musl") ? { libc: ["musl"] } : {};
  return { version, cpu: [cpu], ...(dev ? { dev } : {}), ...libc, optional: true, os: [os] };
}

function fail(message: string): never {
  process.stderr.write(`${message}\n`);
  process.exit(1);
}
