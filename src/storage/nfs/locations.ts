import { readFile } from "node:fs/promises";
import { posix } from "node:path";
import { fileURLToPath } from "node:url";
import Type, { type Static } from "typebox";
import Value from "typebox/value";
import { AppError } from "#/domain/errors.ts";
import { isInside, type Mount } from "#/storage/nfs/mounts.ts";

/**
 * One entry of the image store's metadata file: what its host sees at `mountpoint` is the export `share_location`. Glance's
 * `filesystem_store_metadata_file` (glance_store/_drivers/filesystem.py), as Cinder's NFS drivers read it.
 */
const ENTRY_SCHEMA = Type.Object({
  id: Type.Optional(Type.String()),
  share_location: Type.String({ pattern: "^nfs://[^/]+/" }),
  mountpoint: Type.String({ pattern: "^/" }),
  type: Type.Literal("nfs"),
});
export type ShareLocation = Static<typeof ENTRY_SCHEMA>;

/** What is mounted here, and what the store's host sees of it. */
export interface LocationMap {
  readonly mounts: readonly Mount[];
  readonly shares: readonly ShareLocation[];
}

/** Reads a metadata file: one entry or a list. Errors: `config_invalid`. */
export async function readShareLocations(path: string): Promise<ShareLocation[]> {
  try {
    return parseShareLocations(await readFile(path, "utf8"));
  } catch (cause) {
    throw new AppError("config_invalid", `${path} does not tell share locations: ${(cause as Error).message}`, { cause });
  }
}

export function parseShareLocations(text: string): ShareLocation[] {
  const entries = [JSON.parse(text) as unknown].flat();
  for (const [index, entry] of entries.entries()) {
    const [problem] = Value.Errors(ENTRY_SCHEMA, entry);
    if (problem) throw new Error(`entry ${index}${problem.instancePath} ${problem.message}`);
  }
  return entries as ShareLocation[];
}

/**
 * The path on this machine of an image's location, as the image store wrote it: `nfs://SERVER/EXPORT/…`, or `file:///…` with the
 * paths of the store's host. Undefined where no mount of this machine shows it. Looks at nothing.
 */
export function localPath(location: string, { mounts, shares }: LocationMap): string | undefined {
  const onServer = parseNfsUrl(location);
  if (onServer) return mountedPath(onServer, mounts);
  if (!location.startsWith("file:///")) return undefined;
  const path = posix.normalize(fileURLToPath(location));
  const share = shares.find(({ mountpoint }) => isInside(path, withoutSlash(mountpoint)));
  if (!share) return path;
  const exported = parseNfsUrl(share.share_location);
  const below = path.slice(withoutSlash(share.mountpoint).length);
  return exported && mountedPath({ ...exported, path: posix.join(exported.path, below) }, mounts);
}

interface ServerPath {
  readonly server: string;
  readonly path: string;
}

/** RFC 2224. An IPv6 address has brackets; a port is not compared. */
function parseNfsUrl(url: string): ServerPath | undefined {
  const [, server = "", path = ""] = /^nfs:\/\/(\[.*?\]|[^/:]*)(?::\d+)?(\/.*)$/.exec(url) ?? [];
  return path === "" ? undefined : { server: server.replace(/^\[(.*)\]$/, "$1"), path: posix.normalize(decodeURIComponent(path)) };
}

function mountedPath({ server, path }: ServerPath, mounts: readonly Mount[]): string | undefined {
  const exports = mounts.flatMap(({ nfs }) => nfs ?? []);
  const mount = exports.find((candidate) => [candidate.server, candidate.address].includes(server) && isInside(path, withoutSlash(candidate.export)));
  return mount && posix.join(mount.mountPoint, path.slice(withoutSlash(mount.export).length));
}

function withoutSlash(path: string): string {
  return path === "/" ? path : path.replace(/\/+$/, "");
}
