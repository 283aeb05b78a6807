import { randomUUID } from "node:crypto";
import { hostname } from "node:os";
import { whyNotScheduled } from "#/app/compute-hosts.ts";
import type { AppContext } from "#/app/context.ts";
import { findVisibleImage } from "#/app/find-image.ts";
import type { Flavors } from "#/app/flavors.ts";
import type { Keypairs } from "#/app/keypairs.ts";
import { newPassword } from "#/app/new-password.ts";
import type { Quotas } from "#/app/quotas.ts";
import type { DecidedDevice, ServerDevices } from "#/app/server-devices.ts";
import { recordStart } from "#/app/server-history.ts";
import { placeServers } from "#/app/server-placement.ts";
import { type Server, withServerDetails } from "#/app/servers.ts";
import { listAggregates } from "#/db/aggregates.ts";
import type { Database } from "#/db/database.ts";
import { type KeyValuePairs, serverMetadata } from "#/db/key-values.ts";
import type { ServerTable } from "#/db/server-tables.ts";
import { insertServer, replaceServerTags } from "#/db/servers.ts";
import { zoneOfHost } from "#/domain/aggregate.ts";
import type { BlockDeviceRequest } from "#/domain/block-device.ts";
import { type Caller, isAdmin, requireRole } from "#/domain/caller.ts";
import { AppError, asAppError } from "#/domain/errors.ts";
import type { Flavor } from "#/domain/flavor.ts";
import type { OperationId } from "#/domain/ids.ts";
import type { Image } from "#/domain/image.ts";
import type { Keypair } from "#/domain/keypair.ts";
import { serverQuota } from "#/domain/quota.ts";
import { POWER_STATES, type ServerFlavor } from "#/domain/server.ts";
import { imageFormOf } from "#/domain/server-capture.ts";
import type { SchedulerHints } from "#/domain/server-group.ts";
import { refuseServerImage } from "#/domain/server-image.ts";
import { createServer } from "#/saga/create-server.ts";

export interface NewServer {
  readonly name: string;
  readonly description: string | null;
  /** Undefined: made of the name. */
  readonly hostname?: string | undefined;
  readonly imageId?: string | undefined;
  readonly flavorId: string;
  readonly keyName?: string | undefined;
  /** Undefined: made. */
  readonly adminPassword?: string | undefined;
  /** In base64. */
  readonly userData?: string | undefined;
  /** Contents in base64. */
  readonly personality: readonly { readonly path: string; readonly contents: string }[];
  readonly metadata: KeyValuePairs;
  readonly tags: readonly string[];
  readonly configDrive?: boolean | undefined;
  readonly availabilityZone?: string | undefined;
  readonly devices: readonly BlockDeviceRequest[];
  /** Names of devices that the image brings, and the servers are not to have. */
  readonly leftOut: readonly string[];
  readonly hints: SchedulerHints;
  readonly network: "auto" | "none";
  readonly diskConfig: "AUTO" | "MANUAL";
  readonly accessIpV4: string | null;
  readonly accessIpV6: string | null;
  readonly countMin: number;
  readonly countMax: number;
}

interface ServerCreationParts {
  readonly flavors: Pick<Flavors, "get">;
  readonly keypairs: Pick<Keypairs, "get">;
  readonly quotas: Quotas;
  readonly devices: ServerDevices;
}

/** What is known of the servers before their records are made. */
interface Decided {
  readonly request: NewServer;
  readonly zone: string;
  readonly flavor: Flavor;
  /** Undefined where the server boots from a volume. */
  readonly image: Image | undefined;
  readonly imageProperties: KeyValuePairs;
  readonly keypair: Keypair | undefined;
  readonly devices: readonly DecidedDevice[];
}

/** Makes servers, from images, volumes and snapshots. */
export class ServerCreation {
  readonly #context: AppContext;
  readonly #parts: ServerCreationParts;

  constructor(context: AppContext, parts: ServerCreationParts) {
    this.#context = context;
    this.#parts = parts;
  }

  /**
   * Records the servers with their disks, takes quotas, and starts to make them; they are `building` when this returns. 400 for
   * what does not fit together, 403 beyond a quota, `pool_full` where no pool has room, `hypervisor_unavailable` with the reason. Of several, as many as the quota allows, from `countMin` up.
   * The password of their administrator is told here only, where that is not switched off.
   */
  async create(caller: Caller, request: NewServer): Promise<{ servers: Server[]; reservationId: string; adminPassword: string | undefined }> {
    requireRole(caller, "member", "create servers");
    const decided = await this.#decide(caller, request);
    const reservationId = `r-${randomUUID().replaceAll("-", "").slice(0, 8)}`;
    const { config, db, runner } = this.#context;
    const { servers, operations } = await db.transaction().execute(async (trx) => {
      const count = await this.#takeQuota(trx, caller, decided);
      return this.#record(trx, caller, decided, { count, reservationId });
    });
    const password = request.adminPassword ?? newPassword();
    for (const operation of operations) void runner.run(operation, { password });
    return { servers, reservationId, adminPassword: config.servers.enableInstancePassword ? password : undefined };
  }

  async #decide(caller: Caller, request: NewServer): Promise<Decided> {
    await this.#context.hypervisor.facts(); // Who has no hypervisor, or one that does not answer, hears it at once.
    const zone = await this.#zone(request.availabilityZone);
    const flavor = await this.#flavor(caller, request.flavorId);
    const image = request.imageId === undefined ? undefined : await this.#image(caller, request.imageId);
    const keypair = request.keyName === undefined ? undefined : await this.#keypair(caller, request.keyName);
    const { devices, imageProperties } = await this.#parts.devices.decide(caller, { image, flavor, asked: request.devices, leftOut: request.leftOut });
    const localRoot = devices.some(({ request: { source, destination } }) => source === "image" && destination === "local");
    if (image) refuseServerImage(image, flavor, { localRoot });
    if (localRoot && flavor.diskGib === 0) refuseZeroDisk(caller);
    return { request, zone, flavor, image: localRoot ? image : undefined, imageProperties, keypair, devices };
  }

  async #record(
    trx: Database,
    caller: Caller,
    decided: Decided,
    { count, reservationId }: { count: number; reservationId: string },
  ): Promise<{ servers: Server[]; operations: OperationId[] }> {
    const rows: ServerTable[] = [];
    const operations: OperationId[] = [];
    for (let index = 0; index < count; index++) {
      const row = this.#row(caller, decided, { index, count, reservationId });
      const { rows: devices, disks, volumes } = await this.#parts.devices.record(trx, caller, row, decided.devices);
      await insertServer(trx, row, devices);
      await serverMetadata.merge(trx, row.id, decided.request.metadata);
      await replaceServerTags(trx, row.id, decided.request.tags);
      await recordStart(trx, caller, row, { action: "create", nowMs: row.created_at });
      const subject = { kind: "server", id: row.id };
      const meta = { projectId: caller.projectId, userId: caller.userId, requestId: caller.requestId, subject, plan: disks[0]?.plan };
      const operation = await this.#context.runner.begin(trx, createServer, { serverId: row.id, disks, volumes }, meta);
      operations.push(...volumes.map(({ operationId }) => operationId), operation);
      rows.push(row);
    }
    await placeServers(trx, caller, this.#parts.quotas, { hints: decided.request.hints, serverIds: rows.map(({ id }) => id) });
    return { servers: await withServerDetails(trx, rows), operations };
  }

  #row(caller: Caller, { request, zone, flavor, image, imageProperties, keypair }: Decided, { index, count, reservationId }: { index: number; count: number; reservationId: string }): ServerTable {
    const { clock, config } = this.#context;
    const now = clock.nowMs();
    const name = count > 1 ? `${request.name}-${index + 1}` : request.name;
    const { id, name: flavorName, vcpus, ramMib, diskGib, ephemeralGib, swapMib, extraSpecs } = flavor;
    const kept: ServerFlavor = { id, name: flavorName, vcpus, ramMib, diskGib, ephemeralGib, swapMib, extraSpecs };
    return {
      id: randomUUID(),
      project_id: caller.projectId,
      user_id: caller.userId,
      name,
      description: request.description,
      hostname: request.hostname ?? hostnameFrom(name),
      vm_state: "building",
      task_state: "scheduling",
      power_state: POWER_STATES.noState,
      previous_vm_state: null,
      progress: 0,
      image_id: image?.id ?? null,
      image_properties: JSON.stringify(imageProperties),
      image_form: image ? JSON.stringify(imageFormOf(image)) : null,
      flavor: JSON.stringify(kept),
      previous_flavor: null,
      key_name: keypair?.name ?? null,
      key_data: keypair?.publicKey ?? null,
      user_data: request.userData ?? null,
      personality: request.personality.length > 0 ? JSON.stringify(request.personality) : null,
      config_drive: Number(request.configDrive ?? config.servers.configDrive),
      availability_zone: zone,
      host: hostname(),
      reservation_id: reservationId,
      launch_index: index,
      disk_config: request.diskConfig,
      access_ip_v4: request.accessIpV4,
      access_ip_v6: request.accessIpV6,
      network: request.network,
      locked_by: null,
      locked_reason: null,
      fault: null,
      rescue_image_id: null,
      shelved_image_id: null,
      launched_at: null,
      created_at: now,
      updated_at: now,
    };
  }

  /** As many as the quota has room for, `countMax` at most; 403 where that is less than `countMin`. */
  async #takeQuota(trx: Database, caller: Caller, { request, flavor }: Decided): Promise<number> {
    const { countMin, countMax } = request;
    const one = Object.entries(serverQuota(flavor));
    const take = (count: number) => this.#parts.quotas.take(trx, caller.projectId, Object.fromEntries(one.map(([resource, amount]) => [resource, amount * count])));
    await take(countMin);
    let taken = countMin;
    // The rest by halves: who asks for a thousand is answered after some ten tries, not a thousand.
    for (let more = countMax - taken; more > 0; ) {
      const fits = await isWithinQuota(take(more));
      if (fits) taken += more;
      more = Math.min(fits ? more : Math.floor(more / 2), countMax - taken);
    }
    return taken;
  }

  /** The zone that the server will be in. 400 where its host is in another one, or takes no servers. */
  async #zone(asked: string | undefined): Promise<string> {
    const { db, config } = this.#context;
    const zone = zoneOfHost(hostname(), await listAggregates(db), config.availabilityZone);
    if (asked !== undefined && asked.split(":")[0] !== zone) throw new AppError("bad_request", "The requested availability zone is not available");
    const why = await whyNotScheduled(db, hostname());
    if (why !== undefined) throw new AppError("bad_request", `No valid host was found. There are not enough hosts available: ${why}.`);
    return zone;
  }

  async #flavor(caller: Caller, id: string): Promise<Flavor> {
    return orRefuse(this.#parts.flavors.get(caller, id), "Invalid flavorRef provided.");
  }

  async #image(caller: Caller, id: string): Promise<Image> {
    return orRefuse(findVisibleImage(this.#context.db, caller, id), `Can not find requested image ${id}`);
  }

  async #keypair(caller: Caller, name: string): Promise<Keypair> {
    return orRefuse(this.#parts.keypairs.get(caller, name), "Invalid key_name provided.");
  }
}

/** A disk as large as its image, whatever that is: 403 in Nova's words (exception.BootFromVolumeRequiredForZeroDiskFlavor), as its policy has it. */
function refuseZeroDisk(caller: Caller): void {
  if (!isAdmin(caller)) throw new AppError("forbidden", "Only volume-backed servers are allowed for flavors with zero disk.");
}

async function isWithinQuota(taking: Promise<void>): Promise<boolean> {
  try {
    await taking;
    return true;
  } catch (error) {
    if (asAppError(error)?.code !== "server_quota_exceeded") throw error;
    return false;
  }
}

/** What a request names and nobody has is the request's fault: 400 in Nova's words. */
async function orRefuse<T>(found: Promise<T>, message: string): Promise<T> {
  try {
    return await found;
  } catch (error) {
    if (asAppError(error)?.code !== "not_found") throw error;
    throw new AppError("bad_request", message, { cause: error });
  }
}

/** Letters, digits and dashes of the name, as Nova's `sanitize_hostname`. */
function hostnameFrom(name: string): string {
  const clean = name
    .replaceAll(/[ _.]/g, "-")
    .replaceAll(/[^\w-]+/g, "")
    .toLowerCase()
    .replaceAll(/^[.-]+|[.-]+$/g, "")
    .slice(0, 63);
  return clean || "server";
}
