import { createReadStream, createWriteStream } from "node:fs";
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { ClientError } from "#/client/errors.ts";
import type { Image } from "#/client/images.ts";
import type { Operation, PlanRequest } from "#/client/mica.ts";
import type { Volume } from "#/client/volumes.ts";
import { formatBytes, GiB, MiB } from "#/lib/units.ts";
import type { Client } from "../command.ts";
import { Progress } from "../progress.ts";
import type { Terminal } from "../terminal.ts";
import { formatDuration, formatRate } from "../words.ts";
import { changeFile, checkFileSystem, makeDisk, readFileIn, sha512, toQcow2, toRaw } from "./disk.ts";
import type { Story } from "./story.ts";

const VIRTUAL_SIZE_BYTES = 512 * MiB;
const DATA_BYTES = 64 * MiB;
const VOLUME_GIB = 1;
const HOSTNAME = "/etc/hostname";

export interface Stage {
  readonly client: Client;
  readonly story: Story;
  readonly terminal: Terminal;
  readonly signal: AbortSignal;
  /** For local files; removed by the caller. */
  readonly folder: string;
}

/** The demonstration, scene by scene. What it makes in Mica it notes, to be removed in the end. */
export class Acts {
  readonly #stage: Stage;
  readonly #undo: (() => Promise<void>)[] = [];

  constructor(stage: Stage) {
    this.#stage = stage;
  }

  async play(): Promise<void> {
    const disk = await this.#makeDisk();
    const image = await this.#uploadDisk(disk);
    await this.#volumeFrom(image, "A volume from the image: the first time, its bytes must become a raw disk", "mica-demo-first");
    const second = await this.#volumeFrom(image, "The same again: now the pool has all it needs", "mica-demo-second");
    const changed = await this.#changeBytes(disk);
    const third = await this.#volumeFrom(changed.image, "A volume with the changed bytes", "mica-demo-changed");
    const raw = await this.#imageFrom(third, "raw");
    const qcow2 = await this.#imageFrom(third, "qcow2");
    const untouched = await this.#imageFrom(second, "qcow2");
    await this.#compare({ disk, changed: changed.path, raw, qcow2, untouched });
  }

  /** Removes what was made, the last first. */
  async cleanUp(): Promise<void> {
    for (const undo of this.#undo.reverse())
      await undo().catch((error: Error) => this.#stage.terminal.complain(`Could not clean up: ${error.message}`));
  }

  async #makeDisk(): Promise<string> {
    const { story, signal } = this.#stage;
    story.scene("A disk, as an installer would make it");
    const raw = this.#local("disk.raw");
    await makeDisk(raw, { virtualSizeBytes: VIRTUAL_SIZE_BYTES, dataBytes: DATA_BYTES }, this.#local("tree"), signal);
    await toQcow2(raw, this.#local("disk.qcow2"), signal);
    const { size } = await stat(this.#local("disk.qcow2"));
    story.tell(
      `${formatBytes(VIRTUAL_SIZE_BYTES)} with a partition table, a boot flag and an ext4 file system; ${formatBytes(size)} as qcow2.`,
    );
    return raw;
  }

  async #uploadDisk(disk: string): Promise<Image> {
    const { story } = this.#stage;
    story.scene("Upload it as a qcow2 image");
    const file = this.#local("disk.qcow2");
    const image = await this.#upload("mica-demo", "qcow2", file);
    this.#mustEqual("the checksum that Mica made in the stream is that of the file", image.os_hash_value, await sha512(file));
    this.#mustEqual("the size of the disk was read in the stream", image.virtual_size, (await stat(disk)).size);
    return image;
  }

  async #volumeFrom(image: Image, title: string, name: string): Promise<Volume> {
    const { client, story, signal } = this.#stage;
    story.scene(title);
    const request: PlanRequest = { source: { kind: "image", id: image.id }, target: { kind: "volume", sizeGib: VOLUME_GIB } };
    return this.#materialise(request, `${image.name} → volume ${name}`, async () => {
      const { id } = await client.volumes.create({ name, sizeGib: VOLUME_GIB, imageId: image.id });
      this.#later(async () => this.#deleteVolume(id));
      return { made: await client.volumes.waitForAvailable(id, signal), volumeId: id };
    });
  }

  async #imageFrom(volume: Volume, diskFormat: "raw" | "qcow2"): Promise<Image> {
    const { client, story, signal } = this.#stage;
    story.scene(`The volume ${volume.name} becomes a ${diskFormat} image`);
    const request: PlanRequest = { source: { kind: "volume", id: volume.id }, target: { kind: "image", diskFormat } };
    return this.#materialise(request, `${volume.name} → ${diskFormat} image`, async () => {
      const id = await client.volumes.uploadToImage(volume.id, { name: `${volume.name}-${diskFormat}`, diskFormat });
      this.#later(async () => client.images.delete(id));
      return { made: await client.images.waitForMade(id, signal), volumeId: volume.id };
    });
  }

  /** Shows the plan, does it, and shows what came of it. Both ways, the operation is the volume's. */
  async #materialise<Made>(request: PlanRequest, what: string, make: () => Promise<{ made: Made; volumeId: string }>): Promise<Made> {
    const { client, story } = this.#stage;
    story.plan(await client.mica.plan(request));
    const startMs = performance.now();
    const { made, volumeId } = await make();
    const tookMs = performance.now() - startMs;
    story.result(what, await this.#lastOperation(volumeId), VOLUME_GIB * GiB, tookMs);
    return made;
  }

  /** The newest operation with a plan that is about the record, once it has ended: that is a moment after its result is there. */
  async #lastOperation(subjectId: string): Promise<Operation> {
    const { mica } = this.#stage.client;
    const { operations } = await mica.operations({ subject: subjectId });
    let newest = operations.find(({ plan }) => plan);
    if (!newest) throw new ClientError("refused", `Mica kept no operation for ${subjectId}.`);
    for await (const state of mica.follow(newest.id, this.#stage.signal)) newest = state;
    return newest;
  }

  /** No server exists yet that could write to a volume: so the bytes change at home, and come back as an image. */
  async #changeBytes(disk: string): Promise<{ image: Image; path: string }> {
    const { story, signal } = this.#stage;
    story.scene("Change bytes: another host name, written into the file system");
    const path = this.#local("changed.raw");
    await toRaw(this.#local("disk.qcow2"), path, signal);
    this.#mustEqual("the qcow2 file holds the disk", await sha512(path), await sha512(disk));
    await changeFile(path, HOSTNAME, "changed-by-demo\n", this.#local("hostname"), signal);
    this.#mustEqual("the file system has the new host name", await readFileIn(path, HOSTNAME, signal), "changed-by-demo\n");
    return { image: await this.#upload("mica-demo-changed", "raw", path), path };
  }

  async #compare(at: { disk: string; changed: string; raw: Image; qcow2: Image; untouched: Image }): Promise<void> {
    const { story, signal } = this.#stage;
    story.scene("Download the images and compare them with the disks at home");
    const asRaw = await this.#download(at.raw, "back.raw");
    const asQcow2 = await this.#downloadQcow2(at.qcow2, "back-changed");
    const untouched = await this.#downloadQcow2(at.untouched, "back-untouched");
    // A volume is a whole number of GiB: the image of it ends in zeroes that the disk at home does not have.
    const changed = await sha512(at.changed, VOLUME_GIB * GiB);
    this.#mustEqual("raw image: every byte is as it was changed", await sha512(asRaw), changed);
    this.#mustEqual("qcow2 image: the same content", await sha512(asQcow2), changed);
    this.#mustEqual(
      "the other volume still has the first disk, every byte",
      await sha512(untouched),
      await sha512(at.disk, VOLUME_GIB * GiB),
    );
    this.#mustEqual("its host name is the old one", await readFileIn(untouched, HOSTNAME, signal), "mica-demo\n");
    this.#mustEqual("the changed one's is the new one", await readFileIn(asQcow2, HOSTNAME, signal), "changed-by-demo\n");
    await checkFileSystem(asQcow2, signal);
    story.proof("e2fsck finds the file system clean");
  }

  async #upload(name: string, diskFormat: string, path: string): Promise<Image> {
    const { client, signal } = this.#stage;
    const { id } = await client.images.create({ name, diskFormat });
    this.#later(async () => client.images.delete(id));
    const { size } = await stat(path);
    await this.#moved("uploaded", size, async (counted) => {
      const file = createReadStream(path, { highWaterMark: MiB });
      await client.images.upload(id, ReadableStream.from(counted(file)), signal);
    });
    return client.images.show(id);
  }

  async #downloadQcow2(image: Image, name: string): Promise<string> {
    const raw = this.#local(`${name}.raw`);
    await toRaw(await this.#download(image, `${name}.qcow2`), raw, this.#stage.signal);
    return raw;
  }

  async #download(image: Image, name: string): Promise<string> {
    const path = this.#local(name);
    await this.#moved(`downloaded ${name}`, image.size ?? 0, async (counted) => {
      const body = await this.#stage.client.images.download(image.id, this.#stage.signal);
      await pipeline(counted(body), createWriteStream(path));
    });
    return path;
  }

  /** Runs a transfer with a bar, and says how fast it was. The transfer passes its bytes through what it is given. */
  async #moved(label: string, sizeBytes: number, transfer: (counted: Counted) => Promise<void>): Promise<void> {
    const { terminal, story } = this.#stage;
    const progress = new Progress(terminal, sizeBytes);
    const startMs = performance.now();
    await transfer((bytes) =>
      counting(bytes, (doneBytes) => {
        if (terminal.isLive) progress.show(`   ${label}`, doneBytes / Math.max(sizeBytes, 1));
      }),
    );
    progress.clear();
    const tookMs = performance.now() - startMs;
    story.tell(`${label}: ${formatBytes(sizeBytes)} in ${formatDuration(tookMs)}, ${formatRate(sizeBytes, tookMs)}`);
  }

  async #deleteVolume(id: string): Promise<void> {
    const { volumes } = this.#stage.client;
    await volumes.waitForRest(id);
    await volumes.delete(id);
    await volumes.waitForDeleted(id);
  }

  #mustEqual(what: string, found: unknown, wanted: unknown): void {
    if (found !== wanted)
      throw new ClientError("operation_failed", `Not so: ${what}. Found ${found}, wanted ${wanted}.`, {
        fix: "This is a defect: please report it.",
      });
    this.#stage.story.proof(what);
  }

  #later(undo: () => Promise<void>): void {
    this.#undo.push(undo);
  }

  #local(name: string): string {
    return join(this.#stage.folder, name);
  }
}

type Counted = (bytes: AsyncIterable<Uint8Array>) => AsyncGenerator<Uint8Array>;

/** Passes the bytes on, and says after each chunk how many they were. */
async function* counting(bytes: AsyncIterable<Uint8Array>, onProgress: (doneBytes: number) => void): AsyncGenerator<Uint8Array> {
  let doneBytes = 0;
  for await (const chunk of bytes) {
    yield chunk;
    onProgress((doneBytes += chunk.length));
  }
}
