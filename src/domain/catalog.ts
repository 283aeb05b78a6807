/** The service catalog: what a token's bearer can reach, and where. */
export interface Service {
  /** Also its id: an installation has one of each. */
  readonly type: string;
  readonly name: string;
  readonly description: string;
  /** Below the public URL; `$(project_id)s` stands for the token's project, as in Keystone. */
  readonly path: string;
}

/**
 * Block Storage is there under its old and its official type: openstackclient and cinderclient look for `volumev3`, openstacksdk
 * for `block-storage` (https://service-types.openstack.org/). Both paths carry the project, without which the API answers only
 * from microversion 3.67 on.
 */
export const SERVICES: readonly Service[] = [
  { type: "identity", name: "keystone", description: "Identity v3", path: "/identity" },
  { type: "image", name: "glance", description: "Image v2", path: "/image" },
  { type: "volumev3", name: "cinderv3", description: "Block Storage v3", path: "/volume/v3/$(project_id)s" },
  { type: "block-storage", name: "cinder", description: "Block Storage v3", path: "/volume/v3/$(project_id)s" },
  { type: "compute", name: "nova", description: "Compute v2.1", path: "/compute/v2.1" },
];

export const INTERFACES = ["public", "internal", "admin"] as const;
export type Interface = (typeof INTERFACES)[number];

/** There is one region; the name is the one that clients expect where none is configured. */
export const REGION = "RegionOne";

export interface Endpoint {
  readonly id: string;
  readonly service: Service;
  readonly interface: Interface;
  readonly url: string;
}

/** The endpoints of a service for a project; without one, the URL keeps the mark of its place. All interfaces are the same address. */
export function endpointsOf(service: Service, baseUrl: string, projectId?: string): Endpoint[] {
  const url = baseUrl + service.path.replace("$(project_id)s", projectId ?? "$(project_id)s");
  return INTERFACES.map((name) => ({ id: `${service.type}-${name}`, service, interface: name, url }));
}

/** Services whose URLs need a project are left out where there is none. */
export function servicesFor(projectId: string | undefined): readonly Service[] {
  return SERVICES.filter(({ path }) => projectId !== undefined || !path.includes("$(project_id)s"));
}
