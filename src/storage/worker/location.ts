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
  const [, host, pool, id] = LOCATION.exec(location) ?? [];
  return host && pool && id ? { host, pool, id: diskId(id) } : undefined;
}

const SCHEME = "mica-worker://";
const LOCATION = new RegExp(`^${SCHEME}([^/]+)/([^/]+)/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})$`);
