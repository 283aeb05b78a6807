import { endpointsOf, REGION, SERVICES } from "#/domain/catalog.ts";
import { AppError } from "#/domain/errors.ts";
import type { Server } from "#/api/server.ts";
import type { BaseUrls } from "#/api/base-urls.ts";
import type { IdentityApi } from "./identity-api.ts";
import { CatalogFilter, IdPath } from "./schema.ts";
import { endpointView, linkTo, listOf, type RecordView, regionView, serviceView } from "./view.ts";

/** Regions, services and endpoints: they follow from the program, so they can only be read. */
export function addCatalogRoutes(app: Server, { baseUrls }: IdentityApi): void {
  addReadOnly(app, baseUrls, { plural: "services", singular: "service", records: servicesThat });
  addReadOnly(app, baseUrls, { plural: "endpoints", singular: "endpoint", records: endpointsThat });
  addReadOnly(app, baseUrls, { plural: "regions", singular: "region", records: (baseUrl) => [regionView(baseUrl)] });
}

function servicesThat(baseUrl: string, { type, name }: CatalogFilter) {
  return SERVICES.filter((service) => (type ?? service.type) === service.type && (name ?? service.name) === service.name).map((service) =>
    serviceView(service, baseUrl),
  );
}

function endpointsThat(baseUrl: string, query: CatalogFilter) {
  return SERVICES.flatMap((service) => endpointsOf(service, baseUrl))
    .filter((endpoint) => (query.interface ?? endpoint.interface) === endpoint.interface)
    .filter(({ service }) => (query.service_id ?? service.type) === service.type)
    .filter(() => (query.region_id ?? REGION) === REGION)
    .map((endpoint) => endpointView(endpoint, baseUrl));
}

interface ReadOnlyResource {
  readonly plural: string;
  readonly singular: string;
  readonly records: (baseUrl: string, query: CatalogFilter) => RecordView[];
}

function addReadOnly(app: Server, baseUrls: BaseUrls, { plural, singular, records }: ReadOnlyResource): void {
  app.get(`/v3/${plural}`, { schema: { querystring: CatalogFilter } }, async (request) => {
    const baseUrl = baseUrls.of(request);
    return listOf(plural, records(baseUrl, request.query), { ...linkTo(baseUrl, plural), next: null });
  });
  app.get(`/v3/${plural}/:id`, { schema: { params: IdPath } }, async (request) => {
    const record = records(baseUrls.of(request), {}).find(({ id }) => id === request.params.id);
    if (!record) throw new AppError("not_found", `There is no ${singular} ${request.params.id}.`);
    return { [singular]: record };
  });
}
