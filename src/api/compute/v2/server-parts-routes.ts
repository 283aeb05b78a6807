import Type from "typebox";
import type { Server } from "#/api/server.ts";
import type { Caller } from "#/domain/caller.ts";
import { requireRole } from "#/domain/caller.ts";
import { AppError, asAppError } from "#/domain/errors.ts";
import type { Server as ServerRecord } from "#/app/servers.ts";
import { POWER_STATES } from "#/domain/server.ts";
import { IdParams, strict } from "./fields.ts";
import type { ComputeApi } from "./compute-api.ts";

/** What else can be asked of one server: its addresses, and what its guest has done. */
export function addServerPartRoutes(app: Server, api: ComputeApi): void {
  const { servers, serverOperations } = api;

  app.get("/servers/:id/ips", { schema: { params: IdParams } }, async ({ caller, params }) => {
    await servers.get(caller, params.id);
    return { addresses: {} };
  });

  app.get("/servers/:id/ips/:network", { schema: { params: Type.Object({ id: Type.String(), network: Type.String() }) } }, async ({ caller, params }) => {
    await servers.get(caller, params.id);
    throw new AppError("not_found", `Instance is not a member of network ${params.network}.`);
  });

  app.get("/servers/:id/os-interface", { schema: { params: IdParams } }, async ({ caller, params }) => {
    await servers.get(caller, params.id);
    return { interfaceAttachments: [] };
  });

  app.get("/servers/:id/os-security-groups", { schema: { params: IdParams } }, async ({ caller, params }) => {
    await servers.get(caller, params.id);
    return { security_groups: [] };
  });

  app.get("/servers/:id/diagnostics", { schema: { params: IdParams } }, async ({ caller, params, microversion }) => {
    const stats = await serverOperations.diskStats(caller, params.id);
    const server = await servers.get(caller, params.id);
    return microversion >= 48 ? diagnosticsView(server, stats) : oldDiagnosticsView(stats);
  });
}

type Stats = Awaited<ReturnType<ComputeApi["serverOperations"]["diskStats"]>>;

function diagnosticsView(server: ServerRecord, stats: Stats): object {
  const { vcpus, ramMib } = JSON.parse(server.flavor) as { vcpus: number; ramMib: number };
  const disks = [...stats.values()].map(({ readBytes, readCount, writtenBytes, writeCount }) => ({
    read_bytes: readBytes,
    read_requests: readCount,
    write_bytes: writtenBytes,
    write_requests: writeCount,
    errors_count: null,
  }));
  return {
    state: server.power_state === POWER_STATES.paused ? "paused" : "running",
    driver: "libvirt",
    hypervisor: "qemu",
    hypervisor_os: "linux",
    uptime: null,
    config_drive: server.config_drive === 1,
    num_cpus: vcpus,
    num_nics: server.network === "none" ? 0 : 1,
    num_disks: disks.length,
    disk_details: disks,
    nic_details: [],
    cpu_details: [],
    memory_details: { maximum: ramMib, used: null },
  };
}

/** Before 2.48 it was what libvirt says, under names made of the disks'. */
function oldDiagnosticsView(stats: Stats): object {
  const entries = [...stats].flatMap(([target, { readBytes, readCount, writtenBytes, writeCount }]) => [
    [`${target}_read`, readBytes],
    [`${target}_read_req`, readCount],
    [`${target}_write`, writtenBytes],
    [`${target}_write_req`, writeCount],
    [`${target}_errors`, -1],
  ]);
  return Object.fromEntries(entries);
}

const Event = strict({
  name: Type.Enum(["network-changed", "network-vif-plugged", "network-vif-unplugged", "network-vif-deleted", "volume-extended", "power-update", "accelerator-request-bound", "volume-reimaged"]),
  server_uuid: Type.String({ minLength: 1 }),
  status: Type.Optional(Type.Enum(["failed", "completed", "in-progress"])),
  tag: Type.Optional(Type.String({ maxLength: 255 })),
});
const Events = strict({ events: Type.Array(Event, { minItems: 1 }) });

/** The first microversion of each event. */
const EVENTS_SINCE: Readonly<Record<string, number>> = { "volume-extended": 51, "power-update": 76, "accelerator-request-bound": 82, "volume-reimaged": 93 };

/**
 * Other services tell Nova here that they are done. Volumes and guests are one system in Mica, and each operation sees to its guest itself:
 * nothing waits for these events, so that they are only acknowledged.
 */
export function addExternalEventRoutes(app: Server, api: ComputeApi): void {
  app.post("/os-server-external-events", { schema: { body: Events } }, async ({ caller, body, microversion }, reply) => {
    if (!caller.isService) requireRole(caller, "admin", "tell of events");
    const early = body.events.find(({ name }) => microversion < (EVENTS_SINCE[name] ?? 1));
    if (early) throw new AppError("bad_request", `Event ${early.name} is not of this microversion.`);
    const events = await Promise.all(
      body.events.map(async ({ status = "completed", ...event }) => {
        const isKnown = await isThere(api, caller, event.server_uuid);
        return { ...event, status: isKnown ? status : "failed", code: isKnown ? 200 : 404 };
      }),
    );
    if (events.every(({ code }) => code === 404)) throw new AppError("not_found", "No instances found for any event");
    return reply.code(events.every(({ code }) => code === 200) ? 200 : 207).send({ events });
  });
}

async function isThere({ servers }: ComputeApi, caller: Caller, id: string): Promise<boolean> {
  try {
    await servers.get(caller, id);
    return true;
  } catch (error) {
    if (asAppError(error)?.code !== "not_found") throw error;
    return false;
  }
}
