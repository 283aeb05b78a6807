import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { Agent as HttpAgent } from "node:http";
import { Agent as HttpsAgent } from "node:https";
import { setImmediate as nextTurn } from "node:timers/promises";
import { rootCertificates } from "node:tls";
import { S3Client } from "@aws-sdk/client-s3";
import type { S3Config } from "#/config/pools/s3.ts";
import { AppError } from "#/domain/errors.ts";
import { MiB, SECOND_MS } from "#/lib/units.ts";
import { readCredentials } from "#/storage/s3/credentials.ts";

/** As the SDK says it: how often in all, with growing waits. */
const ATTEMPTS_MAX = 4;
const CONNECT_MS_MAX = 10 * SECOND_MS;
/** Without a byte in either direction. Copies on the server's side and the end of a large upload take minutes. */
const SILENCE_MS_MAX = 300 * SECOND_MS;
const SOCKETS_MAX = 64;

/** A client of the pool's service. Makes no request. */
export function openClient(section: S3Config): S3Client {
  const { endpoint, region, addressing, caPath } = section;
  const agent = { keepAlive: true, maxSockets: SOCKETS_MAX };
  const client = new S3Client({
    endpoint,
    region,
    forcePathStyle: addressing === "path",
    credentials: () => readCredentials(section),
    maxAttempts: ATTEMPTS_MAX,
    // Else the SDK sends streams and parts with checksums in trailers, which radosgw answers with 411.
    requestChecksumCalculation: "WHEN_REQUIRED",
    responseChecksumValidation: "WHEN_REQUIRED",
    requestHandler: {
      connectionTimeout: CONNECT_MS_MAX,
      socketTimeout: SILENCE_MS_MAX,
      httpAgent: new HttpAgent(agent),
      httpsAgent: new HttpsAgent({ ...agent, ...(caPath !== undefined && { ca: [...rootCertificates, readCertificates(caPath)] }) }),
    },
  });
  signBodies(client, { isEncrypted: endpoint.startsWith("https:") });
  return client;
}

/**
 * The hash of a body goes into the request's signature, so that no byte changes on the way. TLS sees to that by itself;
 * elsewhere we hash, in slices: the SDK would hash a part at once, and stop everybody for as long.
 */
function signBodies(client: S3Client, { isEncrypted }: { isEncrypted: boolean }): void {
  client.middlewareStack.add(
    (next) => async (args) => {
      const request = args.request as { headers: Record<string, string>; body?: unknown };
      if (request.body instanceof Uint8Array) {
        request.headers["x-amz-content-sha256"] = isEncrypted ? "UNSIGNED-PAYLOAD" : await sha256(request.body);
      }
      return next(args);
    },
    { step: "build", name: "hashBodiesInSlices" },
  );
}

/** A slice takes half a millisecond. */
const SLICE_BYTES = MiB;

async function sha256(bytes: Uint8Array): Promise<string> {
  const hash = createHash("sha256");
  for (let start = 0; start < bytes.length; start += SLICE_BYTES) {
    hash.update(bytes.subarray(start, start + SLICE_BYTES));
    await nextTurn();
  }
  return hash.digest("hex");
}

function readCertificates(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    throw new AppError("pool_unavailable", `its certificates ${path} cannot be read: ${(cause as Error).message}`, { cause });
  }
}
