import Type from "typebox";
import { MiB, TiB } from "#/lib/units.ts";
import { text, whole } from "../option-types.ts";

/** What only `s3` pools have. */
export const S3_SCHEMA = Type.Object(
  {
    endpoint: text({ pattern: "^https?://[^\\s?#@/]+/?$", says: "an http or https URL without a path", description: "Of the S3 service. Glance's `s3_store_host`." }),
    bucket: text({ pattern: "^[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]$", says: "a bucket's name", description: "Where objects are kept. Glance's `s3_store_bucket`." }),
    prefix: Type.String({
      default: "",
      pattern: "^([A-Za-z0-9._-]+/)*$",
      says: "folders that end in /, or nothing",
      description: "Goes before the names of objects, so that pools can share a bucket.",
    }),
    region: text({ default: "us-east-1", description: "What most services call their only one. Glance's `s3_store_region_name`." }),
    addressing: Type.Enum(["path", "virtual"], {
      default: "path",
      description: "`path`: HOST/BUCKET, which works everywhere but on AWS; `virtual`: BUCKET.HOST. Glance's `s3_store_bucket_url_format`.",
    }),
    credentialsPath: Type.Optional(
      text({
        path: true,
        description:
          "A file in the format of `~/.aws/credentials`, read again every few minutes. Without it the keys are AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment. Glance's `s3_store_access_key`, `s3_store_secret_key`.",
      }),
    ),
    profile: text({ default: "default", description: "The section of that file." }),
    caPath: Type.Optional(text({ path: true, description: "Certificates (PEM) that are trusted beside the usual ones. Glance's `s3_store_cacert`." })),
    createBucketOnPut: Type.Boolean({ default: false, description: "Makes the bucket when it is not there at the first upload. Glance's `s3_store_create_bucket_on_put`." }),
    partSizeBytes: Type.Integer({
      default: 10 * MiB,
      minimum: 5 * MiB,
      maximum: 512 * MiB,
      unit: "bytes",
      description: "Of a multipart upload; larger by itself where 10,000 of them would not do. Glance's `s3_store_large_object_chunk_size`.",
    }),
    partsAtOnce: whole(4, 1, {
      description: "So many parts of one upload are in memory and under way; Glance has 10, and `s3_store_thread_pools` for it.",
    }),
    capacityBytes: whole(1024 * TiB, 1, { unit: "bytes", description: "What the pool may hold, since no S3 service tells: set it to the quota, if there is one." }),
  },
  { additionalProperties: false },
);
export type S3Config = Type.Static<typeof S3_SCHEMA>;
