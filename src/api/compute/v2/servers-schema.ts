import Type, { type TProperties } from "typebox";
import { parserOf } from "#/api/parse.ts";
import type { SchedulerHints } from "#/domain/server-group.ts";
import { AnyDevice, deviceFields, OLD_DEVICE_FIELDS } from "./block-devices.ts";
import { count, Flag, MetadataPairs, Name, strict } from "./fields.ts";

/** The pieces of nova/api/openstack/compute/schemas/servers.py; each microversion has some of them, and refuses all others. */
export const Description = Type.Union([Type.String({ maxLength: 255, pattern: "^[\\s\\P{C}]*$" }), Type.Null()]);
export const Hostname = Type.String({ minLength: 2, maxLength: 63, pattern: "^[a-zA-Z0-9]+[a-zA-Z0-9-]*[a-zA-Z0-9]+$" });
export const DiskConfig = Type.Enum(["AUTO", "MANUAL"]);
export const AccessIpV4 = Type.String({ pattern: "^$|^(\\d{1,3}\\.){3}\\d{1,3}$" });
export const AccessIpV6 = Type.String({ pattern: "^$|^[0-9a-fA-F:.]{2,45}$" });
export const UserData = Type.String({ maxLength: 65_535, pattern: "^[A-Za-z0-9+/=\\s]*$" });
export const Personality = Type.Array(strict({ path: Type.String(), contents: Type.String({ pattern: "^[A-Za-z0-9+/=\\s]*$" }) }));
/** A slash or comma would be lost in a path or a query. */
export const Tag = Type.String({ minLength: 1, maxLength: 60, pattern: "^[^,/]*$" });
export const TAGS_MAX = 50;
export const Tags = Type.Array(Tag, { maxItems: TAGS_MAX, uniqueItems: true });
export const TrustedCertificates = Type.Union([Type.Array(Type.String({ minLength: 1 }), { maxItems: 50 }), Type.Null()]);
export const Password = Type.String();

const CREATE_2_1 = {
  name: Name,
  imageRef: Type.Optional(Type.String({ maxLength: 1024 })),
  flavorRef: Type.Union([Type.String({ minLength: 1 }), Type.Integer()]),
  adminPass: Type.Optional(Password),
  metadata: Type.Optional(MetadataPairs),
  networks: Type.Optional(Type.Unknown()),
  "OS-DCF:diskConfig": Type.Optional(DiskConfig),
  accessIPv4: Type.Optional(AccessIpV4),
  accessIPv6: Type.Optional(AccessIpV6),
  availability_zone: Type.Optional(Name),
  block_device_mapping: Type.Optional(Type.Array(strict(OLD_DEVICE_FIELDS))),
  config_drive: Type.Optional(Type.Union([Flag, Type.Null(), Type.Literal("")])),
  key_name: Type.Optional(Name),
  min_count: Type.Optional(count(1)),
  max_count: Type.Optional(count(1)),
  return_reservation_id: Type.Optional(Flag),
  security_groups: Type.Optional(Type.Array(Type.Object({ name: Type.Optional(Type.String()) }))),
  user_data: Type.Optional(Type.Union([UserData, Type.Null()])),
};

/** What came later, with its first microversion. */
const LATER: readonly (readonly [since: number, fields: TProperties])[] = [
  [19, { description: Type.Optional(Description) }],
  [37, { networks: Type.Unknown() }],
  [52, { tags: Type.Optional(Tags) }],
  [63, { trusted_image_certificates: Type.Optional(TrustedCertificates) }],
  [74, { host: Type.Optional(Type.String({ minLength: 1 })), hypervisor_hostname: Type.Optional(Type.String({ minLength: 1 })) }],
  [90, { hostname: Type.Optional(Hostname) }],
];
const newest = {
  ...CREATE_2_1,
  personality: Type.Optional(Personality),
  block_device_mapping_v2: Type.Optional(Type.Array(AnyDevice)),
  description: Type.Optional(Description),
  tags: Type.Optional(Tags),
  trusted_image_certificates: Type.Optional(TrustedCertificates),
  host: Type.Optional(Type.String()),
  hypervisor_hostname: Type.Optional(Type.String()),
  hostname: Type.Optional(Hostname),
};
const Newest = Type.Object({ server: Type.Object(newest) });
export type NewServerBody = Type.Static<typeof Newest>["server"];

/** nova/api/openstack/compute/schemas/servers.py `_hints`; others have any name and form. */
const ServerIds = Type.Optional(Type.Union([Type.String({ maxLength: 255 }), Type.Array(Type.String({ maxLength: 255 }), { maxItems: 1000 })]));
const Hints = Type.Object({ group: Type.Optional(Type.String({ format: "uuid" })), different_host: ServerIds, same_host: ServerIds });
const HINTS_NAMES = ["os:scheduler_hints", "OS-SCH-HNT:scheduler_hints"] as const;

/** Checks the body by what its microversion has. 400 with the field that is wrong. */
export function parseCreateServer(minor: number, received: unknown): { body: NewServerBody; hints: SchedulerHints } {
  const parsed = createParsers.getOrInsertComputed(minor, createParser)(received) as { server: NewServerBody } & Partial<Record<(typeof HINTS_NAMES)[number], SchedulerHints>>;
  return { body: parsed.server, hints: parsed[HINTS_NAMES[0]] ?? parsed[HINTS_NAMES[1]] ?? {} };
}
const createParsers = new Map<number, ReturnType<typeof parserOf>>();

function createParser(minor: number) {
  const later = Object.assign({}, ...LATER.filter(([since]) => minor >= since).map(([, fields]) => fields)) as TProperties;
  const fields = {
    ...CREATE_2_1,
    block_device_mapping_v2: Type.Optional(Type.Array(strict(deviceFields(minor)))),
    ...(minor <= 56 && { personality: Type.Optional(Personality) }),
    ...later,
  };
  const hints = Object.fromEntries(HINTS_NAMES.map((name) => [name, Type.Optional(Hints)]));
  return parserOf(strict({ server: strict(fields), ...hints }));
}

const UPDATE_2_1 = {
  name: Type.Optional(Name),
  "OS-DCF:diskConfig": Type.Optional(DiskConfig),
  accessIPv4: Type.Optional(AccessIpV4),
  accessIPv6: Type.Optional(AccessIpV6),
};
const UPDATE_2_19 = { ...UPDATE_2_1, description: Type.Optional(Description) };
const UPDATE_2_90 = { ...UPDATE_2_19, hostname: Type.Optional(Hostname) };
const updateBody = <T extends TProperties>(fields: T) => parserOf(strict({ server: Type.Object(fields, { additionalProperties: false, minProperties: 1 }) }));
const update_2_1 = updateBody(UPDATE_2_1);
const update_2_19 = updateBody(UPDATE_2_19);
const update_2_90 = updateBody(UPDATE_2_90);

export type UpdateServerBody = ReturnType<typeof update_2_90>["server"];

export function parseUpdateServer(minor: number, received: unknown): UpdateServerBody {
  if (minor >= 90) return update_2_90(received).server;
  return minor >= 19 ? update_2_19(received).server : update_2_1(received).server;
}
