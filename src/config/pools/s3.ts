import Type from "typebox";
import { text } from "../option-types.ts";

/** What only `s3` pools have. */
export const S3_SCHEMA = Type.Object(
  {
    endpoint: text({ pattern: "^https?://[^\\s?#]+$", says: "an http or https URL", description: "Of the S3 service. Glance's `s3_store_host`." }),
    bucket: text({ description: "Where objects are kept. Glance's `s3_store_bucket`." }),
  },
  { additionalProperties: false },
);
