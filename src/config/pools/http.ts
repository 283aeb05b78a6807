import Type from "typebox";
import { SECOND_MS } from "#/lib/units.ts";
import { text, whole } from "../option-types.ts";

/** What only `http` pools have: places that others fill, and from which images are read. */
export const HTTP_SCHEMA = Type.Object(
  {
    allowedHosts: Type.Array(
      text({
        pattern: "^([A-Za-z0-9._-]+|\\[[0-9a-fA-F:.]+\\])(:[0-9]{1,5})?$",
        says: "HOST or HOST:PORT, an IPv6 host in [ ]",
        description: "A host as it stands in URLs.",
      }),
      {
        default: [],
        uniqueItems: true,
        description:
          "Hosts that may be in this network too. All others must have public addresses only: users register URLs, and must not reach by them what only Mica can.",
      },
    ),
    caPath: Type.Optional(text({ path: true, description: "Certificates (PEM) that are trusted beside the usual ones. Glance's `https_ca_certificates_file`." })),
    silenceMsMax: whole(30 * SECOND_MS, SECOND_MS, { unit: "ms", description: "A server that sends nothing for so long is given up; reading is tried again where it broke off." }),
  },
  { additionalProperties: false },
);
export type HttpConfig = Type.Static<typeof HTTP_SCHEMA>;
