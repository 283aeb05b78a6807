import { AppError } from "./errors.ts";

/** Locations that Cinder makes and reads itself, as far as they are known here: its `allowed_direct_url_schemes`. */
export const DIRECT_URL_SCHEMES = ["cinder"] as const;
export type DirectUrlScheme = (typeof DIRECT_URL_SCHEMES)[number];

/** Where the bytes of an image are that is a volume (glance_store/_drivers/cinder/store.py). */
export function cinderLocation(store: string, id: string): string {
  return `cinder://${store}/${id}`;
}

export function isCinderLocation(url: string): boolean {
  return url.startsWith("cinder://");
}

/** The volume that `cinder://VOLUME` or `cinder://STORE/VOLUME` names; `bad_request` for others, and where the operator does not allow it. */
export function volumeOfCinderLocation(url: string, allowed: readonly DirectUrlScheme[]): string {
  const [, id] = /^cinder:\/\/(?:[^/?#]+\/)?([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})$/.exec(url) ?? [];
  if (id === undefined) throw new AppError("bad_request", `Invalid location: ${url} names no volume: it must be cinder://VOLUME or cinder://STORE/VOLUME.`);
  if (!allowed.includes("cinder")) throw new AppError("bad_request", 'Invalid location: the scheme cinder is not among the configured "allowedDirectUrlSchemes".');
  return id;
}
