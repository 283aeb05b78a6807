/** Where a volume lives, as this API names it: host@backend#pool. Each pool is a backend with one pool. */
export function hostOf(pool: string): string {
  return `${backendOf(pool)}#${pool}`;
}

/** The host of the service that stands for a pool. */
export function backendOf(pool: string): string {
  return `${SERVICE_HOST}@${pool}`;
}

/** All processes of an installation act as one host, since any of them does the work. */
export const SERVICE_HOST = "mica";
