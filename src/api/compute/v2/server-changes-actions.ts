import { hostname } from "node:os";
import Type from "typebox";
import { parserOf } from "#/api/parse.ts";
import { requireRole } from "#/domain/caller.ts";
import { AppError } from "#/domain/errors.ts";
import { idIn, MetadataPairs, Name, Nothing, strict } from "./fields.ts";
import { userDataIn } from "./new-server.ts";
import { type Action, action } from "./server-action.ts";
import { AccessIpV4, AccessIpV6, Description, DiskConfig, Hostname, Password, Personality, TrustedCertificates, UserData } from "./servers-schema.ts";
import { passwordView, rebuiltServerView } from "./servers-view.ts";

const Key = Type.Optional(Type.Union([Name, Type.Null()]));
const ImageRef = Type.String({ minLength: 1, maxLength: 1024 });

/** nova/api/openstack/compute/schemas/servers.py `rebuild`, with the first and last microversion of each field. */
const REBUILD_FIELDS = [
  [1, 104, { imageRef: ImageRef, name: Type.Optional(Name), adminPass: Type.Optional(Password), metadata: Type.Optional(MetadataPairs) }],
  [1, 104, { preserve_ephemeral: Type.Optional(Type.Boolean()), "OS-DCF:diskConfig": Type.Optional(DiskConfig) }],
  [1, 104, { accessIPv4: Type.Optional(AccessIpV4), accessIPv6: Type.Optional(AccessIpV6) }],
  [1, 56, { personality: Type.Optional(Personality) }],
  [19, 104, { description: Type.Optional(Description) }],
  [54, 104, { key_name: Key }],
  [57, 104, { user_data: Type.Optional(Type.Union([UserData, Type.Null()])) }],
  [63, 104, { trusted_image_certificates: Type.Optional(TrustedCertificates) }],
  [90, 104, { hostname: Type.Optional(Hostname) }],
] as const;

const Newest = Type.Object({ imageRef: ImageRef, name: Type.Optional(Name), adminPass: Type.Optional(Password), description: Type.Optional(Description), metadata: Type.Optional(MetadataPairs), key_name: Key, user_data: Type.Optional(Type.Union([UserData, Type.Null()])), hostname: Type.Optional(Hostname) });
type RebuildBody = Type.Static<typeof Newest>;

const rebuildParsers = new Map<number, (received: unknown) => unknown>();

/** Checks the body by what its microversion has; extras that have no effect here are accepted where Nova has them. */
function parseRebuild(minor: number, received: unknown): RebuildBody {
  const parser = rebuildParsers.getOrInsertComputed(minor, () => {
    const fields = REBUILD_FIELDS.filter(([since, until]) => minor >= since && minor <= until).map(([, , field]) => field);
    return parserOf(strict(Object.assign({}, ...fields)));
  });
  return parser(received) as RebuildBody;
}

const Resize = strict({ flavorRef: Type.Union([Type.String({ minLength: 1 }), Type.Integer()]), "OS-DCF:diskConfig": Type.Optional(DiskConfig) });
const Rescue = Type.Union([Type.Null(), strict({ adminPass: Type.Optional(Password), rescue_image_ref: Type.Optional(ImageRef) })]);
const Zone = { availability_zone: Type.Optional(Type.Union([Name, Type.Null()])) };
const unshelve_2_1 = parserOf(Nothing);
const unshelve_2_77 = parserOf(Type.Union([Type.Null(), strict(Zone)]));
const unshelve_2_91 = parserOf(Type.Union([Type.Null(), strict({ ...Zone, host: Type.Optional(Name) })]));

/** Where the server is to go, as far as its microversion can say. */
function parseUnshelve(minor: number, received: unknown): NonNullable<ReturnType<typeof unshelve_2_91>> {
  if (minor >= 91) return unshelve_2_91(received) ?? {};
  if (minor >= 77) return unshelve_2_77(received) ?? {};
  unshelve_2_1(received);
  return {};
}

const change = (name: "confirmResize" | "revertResize" | "unrescue", status: 202 | 204 = 202): Action =>
  action(Nothing, async ({ api, request, serverId }) => {
    await api.serverChanges[name](request.caller, serverId);
    return { status };
  });

/** Actions that change a server in depth. */
export const CHANGES: Readonly<Record<string, Action>> = {
  rebuild: async ({ api, request, serverId }, argument) => {
    const body = parseRebuild(request.microversion, argument);
    await api.serverLimits.refuseBeyond(request.caller, { metadata: body.metadata ?? {}, personality: [] });
    const password = await api.serverChanges.rebuild(request.caller, serverId, {
      imageId: idIn(body.imageRef),
      adminPassword: body.adminPass,
      name: body.name,
      description: body.description,
      metadata: body.metadata,
      keyName: body.key_name,
      userData: body.user_data === null ? null : userDataIn(body.user_data),
      hostname: body.hostname,
      volumesToo: request.microversion >= 93,
    });
    const viewer = api.viewers.of(request);
    return { status: 202, location: viewer.url("servers", serverId), body: { server: { ...rebuiltServerView(await api.servers.get(request.caller, serverId), viewer), ...passwordView(password) } } };
  },
  resize: action(Resize, async ({ api, request, serverId }, { flavorRef }) => {
    await api.serverChanges.resize(request.caller, serverId, idIn(String(flavorRef)));
    return { status: 202 };
  }),
  confirmResize: change("confirmResize", 204),
  revertResize: change("revertResize"),
  rescue: action(Rescue, async ({ api, request, serverId }, body) => {
    const imageId = body?.rescue_image_ref === undefined ? undefined : idIn(body.rescue_image_ref);
    return { status: 200, body: passwordView(await api.serverChanges.rescue(request.caller, serverId, { imageId, adminPassword: body?.adminPass })) };
  }),
  unrescue: change("unrescue"),
  shelve: action(Nothing, async ({ api, request, serverId }) => {
    await api.serverShelving.shelve(request.caller, serverId);
    return { status: 202 };
  }),
  shelveOffload: action(Nothing, async ({ api, request, serverId }) => {
    await api.serverShelving.offload(request.caller, serverId);
    return { status: 202 };
  }),
  unshelve: async ({ api, request, serverId }, argument) => {
    const { availability_zone: zone, host } = parseUnshelve(request.microversion, argument);
    if (host !== undefined) requireRole(request.caller, "admin", "choose the host of a server");
    const zones = await api.hosts.zones(request.caller);
    if (zone && !zones.has(zone)) throw new AppError("bad_request", "The requested availability zone is not available");
    if (host !== undefined && host !== hostname()) throw new AppError("bad_request", `Compute host ${host} could not be found.`);
    await api.serverShelving.unshelve(request.caller, serverId, { hasPlace: zone !== undefined || host !== undefined });
    return { status: 202 };
  },
};
