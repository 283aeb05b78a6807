import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Materialise } from "#/app/materialise.ts";
import { devicesOf } from "#/db/block-devices.ts";
import { addQuotaUsage } from "#/db/quota-usage.ts";
import type { BlockDeviceTable, ServerTable } from "#/db/server-tables.ts";
import { findServer, insertServer } from "#/db/servers.ts";
import type { OperationTable } from "#/db/tables.ts";
import { serverQuota } from "#/domain/quota.ts";
import type { ServerFlavor } from "#/domain/server.ts";
import { GiB, MiB } from "#/lib/units.ts";
import type { Plan } from "#/planner/plan.ts";
import type { SagaContext, ServerLimits } from "#/saga/context.ts";
import { createServer } from "#/saga/create-server.ts";
import type { Saga } from "#/saga/engine/saga.ts";
import type { RescueServer } from "#/saga/rescue-server.ts";
import { SAGAS } from "#/saga/sagas.ts";
import type { ServerParams } from "#/saga/server-record.ts";
import { FileDriver } from "#/storage/file/driver.ts";
import { openWriter } from "#/tools/qemu-nbd.ts";
import type { GuestSummary } from "#/vm/driver.ts";
import { MemoryHypervisor } from "#/vm/memory/driver.ts";
import { MemoryHost } from "#/vm/memory/host.ts";
import { PROJECT, SagaWorld, someContent } from "./saga-world.ts";
import { SharingPool } from "./sharing-pool.ts";

export const FLAVOR: ServerFlavor = { id: "1", name: "m1.tiny", vcpus: 1, ramMib: 256, diskGib: 1, ephemeralGib: 0, swapMib: 0, extraSpecs: {} };

/** A place for servers' sagas: disks are files, guests are the hypervisor's twin in memory. */
export class ServerWorld implements AsyncDisposable {
  readonly sagas: SagaWorld;
  /** The host whose guests the hypervisor runs. */
  readonly host: MemoryHost;
  readonly #dir: string;

  private constructor(sagas: SagaWorld, host: MemoryHost, dir: string) {
    this.sagas = sagas;
    this.host = host;
    this.#dir = dir;
  }

  /** `folder`: where the disks are; gone with the world. `sharesBlocks`: its file system, and there is a pool `far` of overlays for images. */
  static async open({ folder, sharesBlocks = false, ...changes }: { folder?: string; sharesBlocks?: boolean } & Partial<ServerLimits> = {}): Promise<ServerWorld> {
    const dir = folder ?? (await mkdtemp(join(tmpdir(), "mica-servers-")));
    const host = new MemoryHost();
    const hypervisor = new MemoryHypervisor(host);
    const [fast, far] = [join(dir, "fast"), join(dir, "far")];
    if (sharesBlocks) await Promise.all([mkdir(fast), mkdir(far)]);
    const sagas = await SagaWorld.open(
      sharesBlocks
        ? { driver: await SharingPool.open(fast), far: await FileDriver.open(far), sagas: SAGAS, hypervisor }
        : { driver: await FileDriver.open(dir), sagas: SAGAS, hypervisor },
    );
    const { limits } = sagas.services;
    Object.assign(limits.servers, changes);
    return new ServerWorld(sagas, host, dir);
  }

  get db() {
    return this.sagas.db;
  }

  async planDisk(imageId: string, sizeBytes = GiB): Promise<Plan> {
    return new Materialise(this.sagas.services).planServerDisk({ source: { kind: "image", id: imageId }, sizeBytes, imagesType: "default", useCowImages: true });
  }

  /** A server's record as the API leaves it for a saga; `devices` are its disks. */
  async addServer(changes: Partial<ServerTable> = {}, devices: readonly Partial<BlockDeviceTable>[] = []): Promise<string> {
    const id = randomUUID();
    const rows = devices.map((device, index) => ({ ...DEVICE, id: randomUUID(), target: `vd${"abcdef"[index]}`, boot_index: index === 0 ? 0 : null, ...device, server_id: id }));
    await insertServer(this.db, { ...SERVER, ...changes, id }, rows);
    await addQuotaUsage(this.db, PROJECT, serverQuota(FLAVOR));
    return id;
  }

  /** A running server with a root disk of the content, as `createServer` leaves it. */
  async addRunning(content: Buffer, sizeBytes = GiB): Promise<string> {
    const image = await this.sagas.addImage(content, { pool: "slow" });
    const [plan, deviceId] = [await this.planDisk(image, sizeBytes), randomUUID()];
    const serverId = await this.addServer({ image_id: image }, [{ id: deviceId, source_id: image, size_bytes: sizeBytes }]);
    await this.run(createServer, { serverId, disks: [{ deviceId, plan }], volumes: [] });
    await this.assertState(serverId, "active");
    return serverId;
  }

  /** Runs a saga about a server to its end, as its runner does. */
  async run<P extends ServerParams>(saga: Saga<SagaContext<P>>, params: P): Promise<OperationTable> {
    const { runner } = this.sagas;
    const meta = { projectId: PROJECT, userId: null, requestId: "req-1", subject: { kind: "server", id: params.serverId } };
    return runner.run(await runner.begin(this.db, saga, params, meta));
  }

  /** Writes something to the server's first disk, as its guest does. */
  async writeInGuest(serverId: string, offset: number, length: number): Promise<void> {
    const disk = this.host.get(serverId).live?.find(({ target }) => target === "vda");
    assert.ok(disk);
    await using writer = await openWriter(disk.node, {});
    await writer.write(someContent(length), offset);
    await writer.flush();
  }

  async server(id: string): Promise<ServerTable | undefined> {
    return findServer(this.db, id);
  }

  async devices(id: string): Promise<BlockDeviceTable[]> {
    return devicesOf(this.db, id);
  }

  async guests(): Promise<GuestSummary[]> {
    return this.sagas.services.hypervisor.list();
  }

  /** The server's fault in words, for messages of tests. */
  async fault(id: string): Promise<string> {
    return (await this.server(id))?.fault ?? "no fault";
  }

  context<P extends ServerParams>(params: P) {
    return this.sagas.context(params);
  }

  async assertState(id: string, vmState: string | undefined): Promise<void> {
    const server = await this.server(id);
    assert.deepEqual([server?.vm_state, server?.task_state ?? null], [vmState, null], server?.fault ?? "no fault");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.sagas[Symbol.asyncDispose]();
    await rm(this.#dir, { recursive: true });
  }
}

const SERVER: Omit<ServerTable, "id"> = {
  project_id: PROJECT,
  user_id: "user",
  name: "server",
  description: null,
  hostname: "server",
  vm_state: "building",
  task_state: "scheduling",
  power_state: 0,
  previous_vm_state: null,
  progress: 0,
  image_id: null,
  image_properties: "{}",
  image_form: null,
  flavor: JSON.stringify(FLAVOR),
  previous_flavor: null,
  key_name: "mine",
  key_data: "ssh-ed25519 AAAA",
  user_data: null,
  personality: null,
  config_drive: 1,
  availability_zone: "nova",
  host: "here",
  reservation_id: "r-1",
  launch_index: 0,
  disk_config: "MANUAL",
  access_ip_v4: null,
  access_ip_v6: null,
  network: "auto",
  locked_by: null,
  locked_reason: null,
  fault: null,
  rescue_image_id: null,
  shelved_image_id: null,
  launched_at: null,
  created_at: 0,
  updated_at: 0,
};

export function newDevice(device: Partial<BlockDeviceTable> & { readonly server_id: string }): BlockDeviceTable {
  return { ...DEVICE, id: randomUUID(), ...device };
}

const DEVICE: Omit<BlockDeviceTable, "id" | "server_id"> = {
  source: "image",
  destination: "local",
  source_id: null,
  volume_id: null,
  disk_id: null,
  size_bytes: MiB,
  target: "vda",
  bus: "virtio",
  kind: "disk",
  boot_index: null,
  guest_format: null,
  tag: null,
  delete_on_termination: 0,
  made_volume: 0,
  state: "attaching",
  created_at: 0,
};

/** A running server, and what is to be done to rescue it. */
export async function rescuing(world: ServerWorld): Promise<RescueServer> {
  const serverId = await world.addRunning(someContent());
  const imageId = await world.sagas.addImage(someContent(), { pool: "slow" });
  return { serverId, imageId, deviceId: randomUUID(), plan: await world.planDisk(imageId, MiB), vmState: "active" };
}
