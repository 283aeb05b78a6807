import { isIPv4, isIPv6 } from "node:net";
import { hostname } from "node:os";
import type { NewServer } from "#/app/server-creation.ts";
import { type Caller, requireRole } from "#/domain/caller.ts";
import { AppError } from "#/domain/errors.ts";
import type { SchedulerHints } from "#/domain/server-group.ts";
import { devicesIn, leftOutIn, oldDevicesIn } from "./block-devices.ts";
import { flag, idIn } from "./fields.ts";
import type { NewServerBody } from "./servers-schema.ts";

/** What a body asks for. 400 for what is not offered here, in words; 403 for what only admins may say. */
export function newServer(caller: Caller, body: NewServerBody, hints: SchedulerHints): NewServer {
  refuseWhatIsNotOffered(body);
  refuseOtherHost(caller, body);
  const imageId = body.imageRef ? idIn(body.imageRef) : undefined;
  const counts = countsIn(body);
  const asked = devices(body, imageId !== undefined);
  if (counts.countMax > 1 && asked.some(({ source }) => source === "volume")) {
    throw new AppError("bad_request", "Cannot attach one or more volumes to multiple instances");
  }
  return {
    name: body.name.trim(),
    description: body.description ?? null,
    hostname: body.hostname,
    imageId,
    flavorId: idIn(String(body.flavorRef)),
    keyName: body.key_name,
    adminPassword: body.adminPass,
    userData: userDataIn(body.user_data ?? undefined),
    personality: (body.personality ?? []).map(({ path, contents }) => ({ path, contents: base64In(contents, `Personality content for ${path} cannot be decoded`) })),
    metadata: body.metadata ?? {},
    tags: body.tags ?? [],
    configDrive: body.config_drive === undefined || body.config_drive === null || body.config_drive === "" ? undefined : flag(body.config_drive),
    availabilityZone: body.availability_zone,
    devices: asked,
    leftOut: leftOutIn([...(body.block_device_mapping ?? []), ...(body.block_device_mapping_v2 ?? [])]),
    hints,
    network: networkIn(body.networks),
    diskConfig: body["OS-DCF:diskConfig"] ?? "AUTO",
    accessIpV4: addressIn(body.accessIPv4, "accessIPv4") ?? null,
    accessIpV6: addressIn(body.accessIPv6, "accessIPv6") ?? null,
    ...counts,
  };
}

/** What one request makes at most, whatever the quota: all of it is one transaction. */
const SERVERS_AT_ONCE_MAX = 1000;

function countsIn({ min_count, max_count }: NewServerBody): Pick<NewServer, "countMin" | "countMax"> {
  const countMin = Number(min_count ?? 1);
  const countMax = Number(max_count ?? countMin);
  if (countMin > countMax) throw new AppError("bad_request", "min_count must be <= max_count");
  if (countMin > SERVERS_AT_ONCE_MAX) throw new AppError("server_quota_exceeded", `Quota exceeded for instances: Requested ${countMin}, but one request makes ${SERVERS_AT_ONCE_MAX} at most`);
  return { countMin, countMax: Math.min(countMax, SERVERS_AT_ONCE_MAX) };
}

const IS_ADDRESS = { accessIPv4: isIPv4, accessIPv6: isIPv6 } as const;

/** Empty is none. 400 where it is no address. */
export function addressIn(address: string | undefined, field: keyof typeof IS_ADDRESS): string | null | undefined {
  if (!address) return address === undefined ? undefined : null;
  if (!IS_ADDRESS[field](address)) throw new AppError("bad_request", `Invalid input for field/attribute ${field}. Value: ${address}.`);
  return address;
}

/** Base64 without white space. 400 where it is none. */
export function userDataIn(text: string | undefined): string | undefined {
  return text === undefined ? undefined : base64In(text, "Userdata content cannot be decoded");
}

function base64In(text: string, complaint: string): string {
  const clean = text.replaceAll(/\s+/g, "");
  if (clean.length % 4 !== 0 || !/^[A-Za-z0-9+/]*={0,2}$/.test(clean)) throw new AppError("bad_request", complaint);
  return clean;
}

function devices(body: NewServerBody, hasImage: boolean): NewServer["devices"] {
  const { block_device_mapping: old = [], block_device_mapping_v2: mappings = [] } = body;
  if (old.length > 0 && mappings.length > 0) throw new AppError("bad_request", "Using different block_device_mapping syntaxes is not allowed in the same request.");
  return old.length > 0 ? oldDevicesIn(old, { hasImage }) : devicesIn(mappings);
}

/** A guest has QEMU's own network behind its host's, or none. An empty list was `auto` before 2.37. */
function networkIn(networks: unknown): "auto" | "none" {
  if (networks === undefined || networks === null || networks === "auto") return "auto";
  if (networks === "none") return "none";
  if (Array.isArray(networks) && networks.length === 0) return "auto";
  throw new AppError("bad_request", 'Networks by id, port or address are not offered here: give networks as "auto", where the guest reaches out through its host, or "none".');
}

function refuseWhatIsNotOffered({ security_groups = [], trusted_image_certificates }: NewServerBody): void {
  const group = security_groups.find(({ name }) => name !== undefined && name !== "default");
  if (group) throw new AppError("bad_request", `Security group ${group.name} is not found: there is only "default" here.`);
  if (trusted_image_certificates?.length) throw new AppError("bad_request", "Signatures of images are not verified here: leave trusted_image_certificates out.");
}

/** Admins may say the host with the zone too: `nova:host`, `nova:host:node`. */
function refuseOtherHost(caller: Caller, { host, hypervisor_hostname, availability_zone = "" }: NewServerBody): void {
  const [, ...forced] = availability_zone.split(":");
  if (forced.length > 2) throw new AppError("bad_request", "Unable to parse availability_zone");
  const wanted = [host, hypervisor_hostname, ...forced].filter((name) => name);
  if (wanted.length === 0) return;
  requireRole(caller, "admin", "choose the host of a server");
  const other = wanted.find((name) => name !== hostname());
  if (other !== undefined) throw new AppError("bad_request", `Compute host ${other} could not be found.`);
}
