import { type DiskId, diskId } from "#/domain/ids.ts";

/** A disk of a worker, as others of its pools find it: `mica-worker://HOST:PORT/POOL/DISK`. */
interface WorkerDisk {
  readonly host: string;
  readonly pool: string;
  readonly id: DiskId;
}

export function workerLocation({ host, pool, id }: WorkerDisk): string {
  return `${SCHEME}${host}/${pool}/${id}`;
}

/** Undefined for a location of another kind. */
export function parseWorkerLocation(location: string): WorkerDisk | undefined {
  const [host, pool, id, ...more] = location.startsWith(SCHEME) ? location.slice(SCHEME.length).split("/") : [];
  return host && pool && id && more.length === 0 ? { host, pool, id: diskId(id) } : undefined;
}

const SCHEME = "mica-worker://";
