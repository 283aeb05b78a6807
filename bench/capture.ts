import { createReadStream } from "node:fs";
import { mkdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { GiB, MINUTE_MS, MiB } from "#/lib/units.ts";
import { run } from "#/tools/run.ts";
import type { MicaProcess } from "../test/support/mica-process.ts";
import type { Bed, Measurement } from "./bed.ts";
import { qemuImg, writeCompressible } from "./disk.ts";
import { type Figure, median, pairedRatio, summary, timed } from "./figure.ts";
import { deleteImage, queueImage, uploadImage } from "./images.ts";
import { createVolume, operationOf } from "./volumes.ts";

const SIZE_GIB = 2;
const timeoutMs = 5 * MINUTE_MS;

/** A form of the image, and the peer's command that makes the same of a raw file. */
interface Form {
  readonly name: string;
  readonly body: Readonly<Record<string, string>>;
  readonly env: Readonly<Record<string, string>>;
  readonly against: string;
  readonly peer: (raw: string, target: string) => Promise<unknown>;
}

const qcow2 = (compression: "zlib" | "zstd"): Form => ({
  name: `qcow2, clusters by ${compression}`,
  body: { disk_format: "qcow2" },
  env: { MICA_VOLUME_UPLOADS_CLUSTER_COMPRESSION: compression },
  against: `qemu-img convert -c, ${compression}`,
  peer: (raw, target) => qemuImg("convert", "-f", "raw", "-O", "qcow2", "-c", "-o", `compression_type=${compression}`, raw, target),
});

/** The tool reads and writes as in a pipe. */
const stream = (compression: "gzip" | "zstd", command: readonly string[]): Form => ({
  name: `raw in ${compression}`,
  body: { disk_format: "raw", container_format: "compressed" },
  env: { MICA_VOLUME_UPLOADS_ALLOW_COMPRESSED: "true", MICA_VOLUME_UPLOADS_COMPRESSION: compression },
  against: command.join(" "),
  peer: (raw, target) => run("sh", ["-c", 'in=$1 out=$2; shift 2; exec "$@" <"$in" >"$out"', "sh", raw, target, ...command], { timeoutMs }),
});

const FORMS: readonly Form[] = [qcow2("zlib"), qcow2("zstd"), stream("gzip", ["pigz", "-1"]), stream("zstd", ["zstd", "-q", "-3", "-T0"])];

/** A volume that becomes a compressed image, beside the tool that does nothing else. Ours reads the bytes once more, for their hashes. */
export const capture: Measurement = {
  about: "a volume becomes a compressed image, against the tool alone on the same bytes",
  async measure(bed) {
    const raw = join(bed.folder, "disk.raw");
    await writeCompressible(raw, { virtualSizeBytes: SIZE_GIB * GiB, dataBytes: bed.sized(512 * MiB) });
    const figures: Figure[] = [];
    for (const form of FORMS) figures.push(...(await measureForm(bed, raw, form)));
    return figures;
  },
};

async function measureForm(bed: Bed, raw: string, form: Form): Promise<Figure[]> {
  const mica = await bed.mica(form.name.replaceAll(/\W+/g, "-"), { env: form.env });
  const sourceId = await queueImage(mica, "raw");
  await uploadImage(mica, sourceId, createReadStream(raw, { highWaterMark: MiB }));
  const { id: volumeId } = await createVolume(mica, sourceId, SIZE_GIB);
  const alone = join(mica.dataDir, "alone");
  await mkdir(alone);
  const [ours, theirs, sizes] = [[] as number[], [] as number[], [] as number[]];
  const temporary: number[] = [];
  for (let round = 0; round < (bed.isSmall ? 1 : 3); round++) {
    const target = join(alone, "image");
    theirs.push(await timed(() => form.peer(raw, target)));
    const { size: peerBytes } = await stat(target);
    await rm(target);
    const { imageId, activeMs, sizeBytes } = await captureImage(mica, volumeId, form.body);
    ours.push(activeMs);
    sizes.push(sizeBytes / peerBytes);
    temporary.push((await operationOf(mica, volumeId)).actual.bytesTemporary ?? Number.NaN);
    await deleteImage(mica, imageId);
  }
  await mica.stop();
  return [
    { figure: form.against, unit: "ms", ...summary(theirs) },
    { figure: form.name, unit: "ms", ...summary(ours), ratio: pairedRatio(ours, theirs), against: form.against, note: `${median(sizes).toFixed(2)} × its bytes; ${median(temporary)} temporary` },
  ];
}

/** Until it is active: written, and hashed. */
async function captureImage(mica: MicaProcess, volumeId: string, body: object) {
  const startedMs = performance.now();
  const action = { "os-volume_upload_image": { image_name: "captured", ...body } };
  const { "os-volume_upload_image": begun } = await mica.json("POST", `/volume/v3/volumes/${volumeId}/action`, { body: action });
  for (;;) {
    const image = await mica.json("GET", `/image/v2/images/${begun.image_id}`);
    if (image.status === "active") break;
    if (performance.now() - startedMs > timeoutMs) throw new Error(`The image is ${image.status} after five minutes.`);
    await sleep(5);
  }
  const activeMs = performance.now() - startedMs;
  await mica.until(async () => (await mica.json("GET", `/volume/v3/volumes/${volumeId}`)).volume.status, (status) => status === "available");
  const { size } = await mica.json("GET", `/image/v2/images/${begun.image_id}`);
  return { imageId: begun.image_id as string, activeMs, sizeBytes: Number(size) };
}
