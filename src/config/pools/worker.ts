import Type from "typebox";
import { text } from "../option-types.ts";

/** What only `worker` pools have. */
export const WORKER_POOL_SCHEMA = Type.Object(
  {
    url: text({
      pattern: "^https://[^\\s?#@/]+/?$",
      says: "an https URL without a path",
      description: "Where `mica worker` listens on the other host, as its certificate names that host. Guests reach the disks under the same name.",
    }),
    pool: text({ pattern: "^[a-z][a-z0-9-]{0,62}$", says: "the name of a pool", description: "The pool's name there." }),
    tlsDir: text({
      path: true,
      description: "A folder with `ca-cert.pem`, `client-cert.pem` and `client-key.pem`, as QEMU calls them: QEMU itself reads them too. The worker must have a certificate of the same authority.",
    }),
  },
  { additionalProperties: false },
);
export type WorkerPoolConfig = Type.Static<typeof WORKER_POOL_SCHEMA>;
