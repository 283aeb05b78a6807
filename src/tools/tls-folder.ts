import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { AppError } from "#/domain/errors.ts";

/** What one end of a connection shows, and whom it trusts: PEM. TLS 1.2 is the oldest that is spoken. */
export interface TlsIdentity {
  readonly ca: Buffer;
  readonly cert: Buffer;
  readonly key: Buffer;
  readonly minVersion: "TLSv1.2";
}

/**
 * The certificates of a folder, under QEMU's own names for them (docs/system/tls.rst): `ca-cert.pem`, and `server-cert.pem`
 * and `server-key.pem`, or those of the client. Errors: `config_invalid`, with the file that cannot be read.
 */
export async function readTlsFolder(dir: string, end: "server" | "client"): Promise<TlsIdentity> {
  const ca = await readPem(join(dir, "ca-cert.pem")); // One after the other: of several that are missing, the first is named.
  const cert = await readPem(join(dir, `${end}-cert.pem`));
  const key = await readPem(join(dir, `${end}-key.pem`));
  return { ca, cert, key, minVersion: "TLSv1.2" };
}

async function readPem(path: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (cause) {
    throw new AppError("config_invalid", `Cannot read ${path}, which TLS needs: ${(cause as Error).message}`, { cause });
  }
}
