import Type from "typebox";
import { text } from "./option-types.ts";

const address = (fallback: string, description: string) =>
  text({
    default: fallback,
    pattern: "^(\\[[0-9a-fA-F:]+\\]|[^:\\s]+):\\d{1,5}$",
    says: "HOST:PORT, an IPv6 host in [ ], port 0 for any free one",
    description,
  });

/** What only `mica worker` reads. */
export const WORKER_SCHEMA = Type.Object({
  listen: address("0.0.0.0:6423", "Where `mica worker` takes calls, by HTTPS: all addresses, since who has no certificate of its authority is refused."),
  listenNbd: address("0.0.0.0:10809", "Where it shows disks, by NBD over TLS; 10809 is NBD's own port."),
  tlsDir: text({
    path: true,
    derived: "`<dataDir>/tls`",
    description: "A folder with `ca-cert.pem`, `server-cert.pem` and `server-key.pem`, as QEMU calls them.",
  }),
});
