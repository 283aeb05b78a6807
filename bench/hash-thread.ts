/** Hashes blocks that are in memory already, and tells how long that took, ms. */
import { createHash, randomFillSync } from "node:crypto";
import { parentPort, workerData } from "node:worker_threads";
import { MiB } from "#/lib/units.ts";

const { algorithm, sizeBytes } = workerData as { algorithm: string; sizeBytes: number };
const block = randomFillSync(Buffer.alloc(MiB));
const hash = createHash(algorithm);
const startedMs = performance.now();
for (let done = 0; done < sizeBytes; done += block.length) hash.update(block);
hash.digest();
parentPort?.postMessage(performance.now() - startedMs);
