import assert from "node:assert/strict";
import { createReadStream } from "node:fs";
import { Readable } from "node:stream";
import { MINUTE_MS } from "#/lib/units.ts";
import type { HypervisorDriver } from "#/vm/driver.ts";
import { MicaProcess } from "../../support/mica-process.ts";
import { guestImage } from "./guest.ts";
import { type Libvirt, startLibvirt } from "./libvirt.ts";

const SERVER_LIMIT_MS = 2 * MINUTE_MS;

/** A Mica of its own on a real libvirtd of its own, and what tests ask of its servers. */
export class CloudWithGuests implements AsyncDisposable {
  readonly mica: MicaProcess;
  readonly libvirt: Libvirt;
  /** Sees what Mica's driver sees, to talk to the agents in guests. */
  readonly hypervisor: HypervisorDriver;

  private constructor(mica: MicaProcess, libvirt: Libvirt) {
    this.mica = mica;
    this.libvirt = libvirt;
    this.hypervisor = libvirt.open({ agentTimeoutMs: 30_000 }); // A busy machine's guest takes its time.
  }

  static async start(env: Record<string, string> = {}, { dataDir }: { dataDir?: string } = {}): Promise<CloudWithGuests> {
    const libvirt = await startLibvirt();
    const { socketPath } = libvirt;
    const patience = { MICA_HYPERVISOR_SHUTDOWN_GRACE_MS: "15000" };
    const host = { MICA_HYPERVISOR_DRIVER: "libvirt", MICA_HYPERVISOR_SOCKET_PATH: socketPath, MICA_HYPERVISOR_VIRT_TYPE: "qemu", ...patience };
    return new CloudWithGuests(await MicaProcess.start({ env: { ...host, ...env }, ...(dataDir && { dataDir }) }), libvirt);
  }

  /** The small guest as an image, raw, or as the file that is given; its agent can be talked to. */
  async addImage(file?: string, format = "raw", properties: Record<string, string> = {}): Promise<string> {
    const body = { name: "guest", disk_format: format, container_format: "bare", hw_qemu_guest_agent: "yes", hw_rng_model: "virtio", ...properties };
    const { id } = await this.mica.json("POST", "/image/v2/images", { body });
    const bytes = Readable.toWeb(createReadStream(file ?? (await guestImage()).disk));
    const headers = { "content-type": "application/octet-stream" };
    await this.mica.json("PUT", `/image/v2/images/${id}/file`, { body: bytes, headers, status: 204 });
    return id;
  }

  async compute(method: string, path: string, body?: object, status?: number) {
    const headers = { "openstack-api-version": "compute 2.104" };
    return this.mica.json(method, `/compute/v2.1${path}`, { headers, ...(body && { body }), ...(status && { status }) });
  }

  async createServer(fields: object): Promise<string> {
    const { server } = await this.compute("POST", "/servers", { server: { name: "guest", flavorRef: await this.flavor(), networks: "none", ...fields } });
    return server.id;
  }

  /** Two tenths of a GiB of memory, a root disk of 1 GiB. */
  async flavor(): Promise<string> {
    const known = (await this.compute("GET", "/flavors")).flavors.find(({ name }: { name: string }) => name === "test");
    if (known) return known.id;
    return (await this.compute("POST", "/flavors", { flavor: { name: "test", ram: 256, vcpus: 1, disk: 1 } })).flavor.id;
  }

  /** The server once it rests; fails with its fault where that is not as wanted. */
  async untilServer(id: string, status: string) {
    const look = async () => (await this.compute("GET", `/servers/${id}`)).server;
    const server = await this.mica.until(look, (seen) => seen["OS-EXT-STS:task_state"] === null && seen.status !== "BUILD", SERVER_LIMIT_MS);
    assert.equal(server.status, status, JSON.stringify(server.fault));
    return server;
  }

  async act(id: string, body: object, status: string) {
    await this.compute("POST", `/servers/${id}/action`, body);
    return this.untilServer(id, status);
  }

  async consoleOf(id: string): Promise<string> {
    return (await this.compute("POST", `/servers/${id}/action`, { "os-getConsoleOutput": {} })).output;
  }

  /** Waits until the guest has booted so many times, as its console says, and its agent answers. */
  async untilBooted(id: string, times = 1): Promise<void> {
    const boots = async () => (await this.consoleOf(id)).split("GUEST-READY").length - 1;
    await this.mica.until(boots, (count) => count >= times, SERVER_LIMIT_MS);
    await this.mica.until(() => this.hypervisor.agent(id, { execute: "guest-ping" }).then(() => true, () => false), Boolean, SERVER_LIMIT_MS);
  }

  async volume(id: string) {
    return (await this.mica.json("GET", `/volume/v3/volumes/${id}`)).volume;
  }

  async createVolume(fields: object): Promise<string> {
    const { volume } = await this.mica.json("POST", "/volume/v3/volumes", { body: { volume: fields } });
    await this.untilVolume(volume.id, "available");
    return volume.id;
  }

  async untilVolume(id: string, status: string): Promise<void> {
    await this.mica.until(() => this.volume(id), (volume) => volume.status === status, SERVER_LIMIT_MS);
  }

  /** Deletes the server, and waits until it is gone. */
  async deleteServer(id: string): Promise<void> {
    await this.compute("DELETE", `/servers/${id}`);
    const look = async () => (await this.mica.ask("GET", `/compute/v2.1/servers/${id}`)).status;
    await this.mica.until(look, (status) => status === 404, SERVER_LIMIT_MS);
  }

  async assertAuditClean(): Promise<void> {
    const { code, output } = await this.mica.audit();
    assert.equal(code, 0, output);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.hypervisor[Symbol.asyncDispose]();
    await this.mica[Symbol.asyncDispose]();
    await this.libvirt[Symbol.asyncDispose]();
  }
}
