import type { Page } from "#/app/lists.ts";
import type { Flavor } from "#/domain/flavor.ts";
import type { Viewer } from "./viewer.ts";

/** What the short list has. */
export function flavorSummaryView({ id, name, description }: Flavor, viewer: Viewer): object {
  return { id, name, links: viewer.links("flavors", id), ...(viewer.minor >= 55 && { description }) };
}

export function flavorView(flavor: Flavor, viewer: Viewer): object {
  const { minor } = viewer;
  return {
    id: flavor.id,
    name: flavor.name,
    ram: flavor.ramMib,
    disk: flavor.diskGib,
    swap: flavor.swapMib === 0 && minor < 75 ? "" : flavor.swapMib,
    "OS-FLV-EXT-DATA:ephemeral": flavor.ephemeralGib,
    vcpus: flavor.vcpus,
    "os-flavor-access:is_public": flavor.isPublic,
    links: viewer.links("flavors", flavor.id),
    ...(minor < 102 && { "OS-FLV-DISABLED:disabled": false, rxtx_factor: flavor.rxtxFactor }),
    ...(minor >= 55 && { description: flavor.description }),
    ...(minor >= 61 && { extra_specs: flavor.extraSpecs }),
  };
}

export function flavorPageView({ records, more }: Page<Flavor>, viewer: Viewer, view: typeof flavorView): object {
  const links = viewer.nextLinks(more ? records.at(-1)?.id : undefined);
  return { flavors: records.map((flavor) => view(flavor, viewer)), ...(links && { flavors_links: links }) };
}
