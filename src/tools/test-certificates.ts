import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { SECOND_MS } from "#/lib/units.ts";
import { run } from "#/tools/run.ts";

/** Who the certificate of a test's server is for. */
const SERVER_NAMES = "DNS:localhost,IP:127.0.0.1,IP:::1";

/**
 * Makes an authority of its own in a folder, and a server's and a client's certificate of it, under the names that QEMU has for
 * them (docs/system/tls.rst). `serverNames`: as in an X.509 subjectAltName, `IP:10.0.0.2,DNS:hostb`.
 */
export async function makeCertificates(dir: string, { serverNames = SERVER_NAMES }: { readonly serverNames?: string } = {}): Promise<void> {
  const config = join(dir, "openssl.cnf");
  await writeFile(config, configuration(serverNames));
  const make = (name: string, extensions: string, signed: readonly string[]) =>
    run("openssl", ["req", "-x509", "-config", config, "-extensions", extensions, ...KEY, ...signed, "-keyout", join(dir, `${name}-key.pem`), "-out", join(dir, `${name}-cert.pem`)], { timeoutMs: 30 * SECOND_MS });
  await make("ca", "ca", []);
  const signed = ["-CA", join(dir, "ca-cert.pem"), "-CAkey", join(dir, "ca-key.pem")];
  for (const name of ["server", "client"]) await make(name, name, signed);
}

const KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-days", "2"] as const;

const configuration = (serverNames: string) => `
[req]
distinguished_name = name
prompt = no
[name]
CN = mica test
[ca]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign
[server]
basicConstraints = CA:FALSE
keyUsage = digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = ${serverNames}
[client]
basicConstraints = CA:FALSE
keyUsage = digitalSignature
extendedKeyUsage = clientAuth
`;
