import { fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { GiB, SECOND_MS } from "#/lib/units.ts";
import type { MicaProcess } from "../test/support/mica-process.ts";
import type { Bed, Measurement } from "./bed.ts";
import { type Figure, median, pairedRatio, summary, timed } from "./figure.ts";
import { deleteImage, downloadImage, queueImage, uploadImage } from "./images.ts";
import { LoadGenerator } from "./load-generator.ts";
import { get, put, randomBlocks } from "./streams.ts";

const LOOPBACK_LIMIT_MS = 10 * SECOND_MS;
const PROBE_BURST_MS = 300;

/** Times of one round each, ms. */
class Samples {
  readonly hash: number[] = [];
  readonly sent: number[] = [];
  readonly received: number[] = [];
  readonly upload: number[] = [];
  readonly download: number[] = [];
  readonly quietProbe: number[] = [];
  readonly uploadProbe: number[] = [];
}

/** An image of 1 GiB in and out, beside what the machine can do at most: hashes alone, and loopback alone. */
export const transfer: Measurement = {
  about: "1 GiB up and down, against both hashes alone in two threads and a bare HTTP server alone; short requests meanwhile",
  async measure(bed) {
    const sizeBytes = bed.sized(GiB);
    const [mica, bareUrl, probe] = [await bed.mica("transfer"), await bareServer(bed), bed.use(new LoadGenerator())];
    const samples = new Samples();
    for (let round = 0; round < (bed.isSmall ? 2 : 5); round++) await measureRound({ mica, bareUrl, probe, sizeBytes }, samples);
    return figuresOf(samples, sizeBytes);
  },
};

interface Parts {
  readonly mica: MicaProcess;
  readonly bareUrl: string;
  readonly probe: LoadGenerator;
  readonly sizeBytes: number;
}

async function measureRound({ mica, bareUrl, probe, sizeBytes }: Parts, samples: Samples): Promise<void> {
  const id = await queueImage(mica, "raw");
  samples.hash.push(await hashAlone(sizeBytes));
  samples.sent.push(await timed(() => put(bareUrl, {}, randomBlocks(sizeBytes))));
  samples.upload.push(await timed(() => uploadImage(mica, id, randomBlocks(sizeBytes))));
  samples.received.push(await timed(() => get(`${bareUrl}/${sizeBytes}`, {})));
  samples.download.push(await timed(() => downloadImage(mica, id)));
  await deleteImage(mica, id);
  await probeDuringUpload({ mica, bareUrl, probe, sizeBytes }, samples);
}

async function probeDuringUpload({ mica, probe, sizeBytes }: Parts, samples: Samples): Promise<void> {
  const ask = async () => (await probe.run({ url: `${mica.url}/identity/v3`, headers: {}, connections: 1, durationMs: PROBE_BURST_MS, pauseMs: 2 })).latenciesMs;
  const id = await queueImage(mica, "raw");
  samples.quietProbe.push(...(await ask()), ...(await ask()));
  let isOver = false;
  const uploading = uploadImage(mica, id, randomBlocks(sizeBytes)).finally(() => (isOver = true));
  while (!isOver) samples.uploadProbe.push(...(await ask()));
  await uploading;
  await deleteImage(mica, id);
}

/** Both hashes of the same amount, each in a thread of its own: the slower one's time. */
async function hashAlone(sizeBytes: number): Promise<number> {
  const times = ["sha512", "md5"].map(async (algorithm) => {
    const thread = new Worker(join(import.meta.dirname, "hash-thread.ts"), { workerData: { algorithm, sizeBytes } });
    const [ms] = (await once(thread, "message")) as [number];
    return ms;
  });
  return Math.max(...(await Promise.all(times)));
}

async function bareServer(bed: Bed): Promise<string> {
  const child = fork(join(import.meta.dirname, "loopback.ts"));
  bed.use({ [Symbol.asyncDispose]: async () => void child.kill("SIGKILL") });
  const [port] = (await once(child, "message", { signal: AbortSignal.timeout(LOOPBACK_LIMIT_MS) })) as [number];
  return `http://127.0.0.1:${port}`;
}

function figuresOf({ hash, sent, received, upload, download, quietProbe, uploadProbe }: Samples, sizeBytes: number): Figure[] {
  const slower = hash.map((ms, round) => Math.max(ms, sent[round] ?? 0));
  const both = hash.map((ms, round) => ms + (sent[round] ?? 0));
  const note = (samples: readonly number[]) => `${Math.round(sizeBytes / 2 ** 20 / (median(samples) / 1000))} MiB/s`;
  const row = (figure: string, samples: readonly number[]): Figure => ({ figure, unit: "ms", ...summary(samples), note: note(samples) });
  return [
    row("sha512 and md5 alone, two threads", hash),
    row("PUT to a bare server", sent),
    { ...row("upload", upload), ratio: pairedRatio(upload, slower), against: "the slower of these" },
    { ...row("upload", upload), ratio: pairedRatio(upload, both), against: "both, one after the other" },
    row("GET from a bare server", received),
    { ...row("download", download), ratio: pairedRatio(download, received), against: "a bare server" },
    { figure: "a short request, nothing else going on", unit: "ms", ...summary(quietProbe) },
    { figure: "a short request during an upload", unit: "ms", ...summary(uploadProbe), ratio: summary(uploadProbe).p99 / summary(quietProbe).p99, against: "its p99 else", note: `longest ${Math.max(...uploadProbe).toFixed(0)} ms` },
  ];
}
