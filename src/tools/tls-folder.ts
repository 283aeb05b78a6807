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
  const names = ["ca-cert.pem", `${end}-cert.pem`, `${end}-key.pem`] as const;
  const [ca, cert, key] = await Promise.all(names.map((name) => readPem(join(dir, name))));
  return { ca, cert, key, minVersion: "TLSv1.2" } as TlsIdentity;
}

async function readPem(path: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (cause) {
    throw new AppError("config_invalid", `Cannot read ${path}, which TLS needs: ${(cause as Error).message}`, { cause });
  }
}
