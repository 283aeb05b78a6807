import { Type } from "typebox";
import type { NewApplicationCredential } from "#/app/identity/application-credentials.ts";
import { AppError } from "#/domain/errors.ts";
import { userId } from "#/domain/ids.ts";
import type { Server } from "#/api/server.ts";
import type { IdentityApi } from "./identity-api.ts";
import { type ApplicationCredentialBody, CreateApplicationCredential, ListQuery } from "./schema.ts";
import { applicationCredentialView, linkTo, listOf } from "./view.ts";

const OwnerPath = Type.Object({ user: Type.String() });
const CredentialPath = Type.Object({ user: Type.String(), id: Type.String() });
const COLLECTION = "/v3/users/:user/application_credentials";

export function addApplicationCredentialRoutes(app: Server, { identity: { applicationCredentials }, baseUrls }: IdentityApi): void {
  app.post(COLLECTION, { schema: { params: OwnerPath, body: CreateApplicationCredential } }, async (request, reply) => {
    const fields = fieldsOf(request.body.application_credential);
    const { credential, secret } = await applicationCredentials.create(request.subject, userId(request.params.user), fields);
    return reply.code(201).send({ application_credential: applicationCredentialView(credential, baseUrls.of(request), secret) });
  });
  app.get(COLLECTION, { schema: { params: OwnerPath, querystring: ListQuery } }, async (request) => {
    const { user } = request.params;
    const baseUrl = baseUrls.of(request);
    const found = await applicationCredentials.list(request.subject, userId(user), request.query.name);
    const views = found.map((credential) => applicationCredentialView(credential, baseUrl));
    return listOf("application_credentials", views, { ...linkTo(baseUrl, `users/${user}/application_credentials`), next: null });
  });
  app.get(`${COLLECTION}/:id`, { schema: { params: CredentialPath } }, async (request) => {
    const { user, id } = request.params;
    const credential = await applicationCredentials.show(request.subject, userId(user), id);
    return { application_credential: applicationCredentialView(credential, baseUrls.of(request)) };
  });
  app.delete(`${COLLECTION}/:id`, { schema: { params: CredentialPath } }, async (request, reply) => {
    const { user, id } = request.params;
    await applicationCredentials.delete(request.subject, userId(user), id);
    return reply.code(204).send();
  });
}

function fieldsOf(body: ApplicationCredentialBody): NewApplicationCredential {
  const { name, description, secret, roles, expires_at, unrestricted, access_rules } = body;
  // A credential that silently could do more than its rules say would be worse than none.
  if (access_rules && access_rules.length > 0)
    throw new AppError("not_supported", "Application credentials with access rules are not supported.");
  return {
    name,
    description: description ?? "",
    secret: secret ?? undefined,
    roles: roles ?? undefined,
    unrestricted: unrestricted ?? false,
    expiresAtMs: expires_at ? parseTime(expires_at) : undefined,
  };
}

/** ISO 8601, in UTC where it names no zone, as Keystone reads it. */
function parseTime(text: string): number {
  const ms = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}/.test(text)
    ? Date.parse(/(Z|[+-]\d{2}:?\d{2})$/.test(text) ? text : `${text}Z`)
    : Number.NaN;
  if (Number.isNaN(ms))
    throw new AppError("bad_request", `Invalid body: expires_at "${text}" is not a time of the form 2026-01-31T12:00:00.`);
  return ms;
}
