import { hostname } from "node:os";
import type { NewServer } from "#/app/server-creation.ts";
import { type Caller, requireRole } from "#/domain/caller.ts";
import { AppError } from "#/domain/errors.ts";
import { devicesIn, oldDevicesIn } from "./block-devices.ts";
import { flag } from "./fields.ts";
import type { NewServerBody } from "./servers-schema.ts";

/** What a body asks for. 400 for what is not offered here, in words; 403 for what only admins may say. */
export function newServer(caller: Caller, body: NewServerBody): NewServer {
  refuseWhatIsNotOffered(body);
  refuseOtherHost(caller, body);
  const imageId = body.imageRef ? body.imageRef.split("/").pop() : undefined;
  const countMin = Number(body.min_count ?? 1);
  const countMax = Number(body.max_count ?? Math.max(countMin, 1));
  if (countMin > countMax) throw new AppError("bad_request", "min_count must be <= max_count");
  return {
    name: body.name.trim(),
    description: body.description ?? null,
    hostname: body.hostname,
    imageId,
    flavorId: String(body.flavorRef).split("/").pop() ?? "",
    keyName: body.key_name,
    userData: userDataIn(body.user_data ?? undefined),
    personality: (body.personality ?? []).map(({ path, contents }) => ({ path, contents: base64In(contents, `Personality content for ${path} cannot be decoded`) })),
    metadata: body.metadata ?? {},
    tags: body.tags ?? [],
    configDrive: body.config_drive === undefined || body.config_drive === null || body.config_drive === "" ? undefined : flag(body.config_drive),
    availabilityZone: body.availability_zone,
    devices: devices(body, imageId !== undefined),
    network: networkIn(body.networks),
    diskConfig: body["OS-DCF:diskConfig"] ?? "AUTO",
    accessIpV4: addressIn(body.accessIPv4) ?? null,
    accessIpV6: addressIn(body.accessIPv6) ?? null,
    countMin,
    countMax,
  };
}

/** Empty is none. */
export function addressIn(address: string | undefined): string | null | undefined {
  return address === undefined ? undefined : address || null;
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

function refuseOtherHost(caller: Caller, { host, hypervisor_hostname }: NewServerBody): void {
  const wanted = host ?? hypervisor_hostname;
  if (wanted === undefined) return;
  requireRole(caller, "admin", "choose the host of a server");
  if (wanted !== hostname()) throw new AppError("bad_request", `Compute host ${wanted} could not be found.`);
}
