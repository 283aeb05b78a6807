import { MiB, SECOND_MS } from "#/lib/units.ts";
import { startLibvirt } from "../test/real/support/libvirt.ts";
import type { MicaProcess } from "../test/support/mica-process.ts";
import type { Bed, Measurement } from "./bed.ts";
import { allocatedBytes, makeQcow2, qemuImg } from "./disk.ts";
import { atMost, type Figure, summary, timed } from "./figure.ts";
import { addQcow2Image } from "./images.ts";
import { onFiles, onRbd, type OpenStorage } from "./storage.ts";

const SERVERS = 20;
const RUNNING_MS_MAX = 1500;
/** Of one raw copy, for the cache and all servers together. */
const SPACE_RATIO_MAX = 1.1;

const ABOUT = "from the call to create a server of a cached image until its guest runs under libvirt";

export const servers: Measurement = { about: ABOUT, measure: (bed) => measureServers(bed, onFiles) };
export const rbdServers: Measurement = { about: `${ABOUT}, on Ceph RBD`, measure: (bed) => measureServers(bed, onRbd) };

async function measureServers(bed: Bed, openStorage: OpenStorage): Promise<Figure[]> {
  const libvirt = bed.use(await startLibvirt());
  const host = { MICA_HYPERVISOR_DRIVER: "libvirt", MICA_HYPERVISOR_SOCKET_PATH: libvirt.socketPath, MICA_QUOTAS_INSTANCES: "-1", MICA_QUOTAS_CORES: "-1", MICA_QUOTAS_RAM_MIB: "-1" };
  const storage = await openStorage(bed, "servers", host);
  const { mica } = storage;
  const path = await makeQcow2(bed.folder, "source", { virtualSizeBytes: 1024 * MiB, dataBytes: bed.sized(256 * MiB) });
  const copy = `${bed.folder}/copy.raw`;
  await qemuImg("convert", "-f", "qcow2", "-O", "raw", path, copy);
  const imageId = await addQcow2Image(mica, path);
  const flavorId = await addFlavor(mica);
  const before = await storage.usedBytes();
  const firstMs = await timed(() => createServer(mica, { imageId, flavorId }));
  const samples: number[] = [];
  for (let count = 2; count < SERVERS; count++) samples.push(await timed(() => createServer(mica, { imageId, flavorId })));
  const beforeLast = await storage.usedBytes();
  samples.push(await timed(() => createServer(mica, { imageId, flavorId })));
  const after = await storage.usedBytes();
  const { median, p99 } = summary(samples);
  const ratio = (after - before) / (await allocatedBytes(copy));
  return [
    { figure: "first server, image converted", unit: "ms", median: firstMs },
    { figure: "server of a cached image", unit: "ms", median, p99, limit: atMost(median, RUNNING_MS_MAX, "ms") },
    { figure: `the ${SERVERS}th server takes`, unit: "MiB", median: (after - beforeLast) / MiB, limit: atMost((after - beforeLast) / MiB, 1, "MiB"), note: "no image bytes" },
    { figure: `cache and ${SERVERS} servers take`, unit: "MiB", median: (after - before) / MiB, ratio, against: "one raw copy", limit: atMost(ratio, SPACE_RATIO_MAX, "×") },
  ];
}

/** As little as QEMU likes: what runs in the guest is not measured. */
async function addFlavor(mica: MicaProcess): Promise<string> {
  const { flavor } = await mica.json("POST", "/compute/v2.1/flavors", { body: { flavor: { name: "bench", ram: 64, vcpus: 1, disk: 2 } } });
  return flavor.id;
}

/** Returns when its guest runs: Mica says so only once libvirt has. */
async function createServer(mica: MicaProcess, { imageId, flavorId }: { imageId: string; flavorId: string }): Promise<void> {
  const server = { name: "bench", imageRef: imageId, flavorRef: flavorId, networks: "none" };
  const headers = { "openstack-api-version": "compute 2.90" };
  const { server: made } = await mica.json("POST", "/compute/v2.1/servers", { body: { server }, headers });
  const look = async () => (await mica.json("GET", `/compute/v2.1/servers/${made.id}`)).server;
  const ended = await mica.until(look, ({ status }) => status !== "BUILD", 120 * SECOND_MS);
  if (ended.status !== "ACTIVE") throw new Error(JSON.stringify(ended.fault));
}
