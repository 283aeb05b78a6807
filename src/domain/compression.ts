import type { DiskFormat } from "./disk.ts";

/** How the whole of an image is compressed, in the container format `compressed`. Cinder's `compression_format` knows gzip only. */
export const COMPRESSIONS = ["gzip", "zstd"] as const;
export type Compression = (typeof COMPRESSIONS)[number];

/** How qcow2 compresses each cluster by itself, so that a disk can still be read anywhere (docs/interop/qcow2.txt, `compression_type`). */
export const CLUSTER_COMPRESSIONS = ["zlib", "zstd"] as const;
export type ClusterCompression = (typeof CLUSTER_COMPRESSIONS)[number];

/** What the bytes of a new image are to be. */
export interface ImageForm {
  readonly diskFormat: DiskFormat;
  /** Compressed clusters, for qcow2; of a vmdk they make a stream-optimized one. */
  readonly clusters?: ClusterCompression | undefined;
  /** The whole as a compressed stream, in the container format `compressed`. */
  readonly stream?: Compression | undefined;
}
