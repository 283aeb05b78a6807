/**
 * Every option of Mica, in the order of docs/configuration.md, which is made from this file.
 *
 * An option has a type with its bounds, a unit where it is a number of something, a default, and the reason for that
 * default (`description`). Its name in the environment and on the command line follow from its key: `quotas.volumes`
 * is `MICA_QUOTAS_VOLUMES` and `--quotas-volumes`. Where a default depends on other options, `derived` says how in words, and
 * `load.ts` computes it.
 */
import Type from "typebox";
import { CLUSTER_COMPRESSIONS, COMPRESSIONS } from "#/domain/compression.ts";
import { DIRECT_URL_SCHEMES } from "#/domain/cinder-location.ts";
import { DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS, GiB, KiB, TiB } from "#/lib/units.ts";
import { HYPERVISOR_SCHEMA } from "./hypervisor.ts";
import { text, whole } from "./option-types.ts";
import { HTTP_SCHEMA } from "./pools/http.ts";
import { LVM_SCHEMA } from "./pools/lvm.ts";
import { NFS_SCHEMA } from "./pools/nfs.ts";
import { RBD_SCHEMA } from "./pools/rbd.ts";
import { S3_SCHEMA } from "./pools/s3.ts";
import { WORKER_POOL_SCHEMA } from "./pools/worker.ts";
import { SERVERS_SCHEMA } from "./servers.ts";
import { WORKER_SCHEMA } from "./worker.ts";

/** What a pool may be used for. Uploaded images go to the first pool with `images`; caches are kept in pools with `cache`. */
export const POOL_ROLES = ["images", "volumes", "servers", "cache"] as const;

const POOL_DRIVERS = ["file", "nfs", "lvm", "rbd", "s3", "http", "worker"] as const;

const poolName = text({
  description: "Names the pool in records, messages and volume types; never change it while the pool holds disks.",
  pattern: "^[a-z][a-z0-9-]{0,62}$",
  says: "a lower-case letter, then up to 62 lower-case letters, digits and dashes",
});

export const POOL_SCHEMA = Type.Object(
  {
    name: poolName,
    driver: Type.Enum([...POOL_DRIVERS], {
      default: "file",
      description: "How the pool keeps bytes. Each driver but `file` has a section of its own name.",
    }),
    path: Type.Optional(
      text({
        description: "The folder of a `file` or `nfs` pool. On XFS, btrfs or NFSv4.2 on such, clones are reflinks; elsewhere qcow2 overlays.",
        path: true,
      }),
    ),
    nfs: Type.Optional(NFS_SCHEMA),
    lvm: Type.Optional(LVM_SCHEMA),
    rbd: Type.Optional(RBD_SCHEMA),
    s3: Type.Optional(S3_SCHEMA),
    http: Type.Optional(HTTP_SCHEMA),
    worker: Type.Optional(WORKER_POOL_SCHEMA),
    roles: Type.Array(Type.Enum([...POOL_ROLES]), {
      minItems: 1,
      uniqueItems: true,
      default: [...POOL_ROLES],
      description: "One pool with all roles makes every clone possible: images and volumes share bytes only inside a pool.",
    }),
    overSubscriptionRatioMax: Type.Number({
      default: 20,
      minimum: 1,
      description: "Promised bytes may be this many times the real ones. Cinder's `max_over_subscription_ratio`.",
    }),
    reservedPercentage: Type.Integer({
      default: 0,
      minimum: 0,
      maximum: 100,
      unit: "%",
      description: "Kept free of the pool's total for others on the same file system. Cinder's `reserved_percentage`.",
    }),
    filterFunction: Type.Optional(
      text({
        description:
          "Which volumes the pool takes, as an expression: `volume.size <= 500 and stats.free_capacity_gb > 50`. Without it, all that fit. Cinder's `filter_function`.",
      }),
    ),
    goodnessFunction: Type.Optional(
      text({
        description:
          "How gladly it takes a volume, from 0 to 100, as an expression: `100 * stats.free_capacity_gb / stats.total_capacity_gb`. It decides among pools with an equally cheap way. Cinder's `goodness_function`.",
      }),
    ),
    imageUploadUseCinderBackend: Type.Boolean({
      default: false,
      description: "A raw, bare image of a volume of this pool stays in it, as a clone, instead of going to a pool for images. Cinder's option of that name.",
    }),
    imageUploadUseInternalTenant: Type.Boolean({
      default: false,
      description: "Such an image takes a volume of the quota of the internal project, not of its project's. Cinder's option of that name.",
    }),
    cloneDepthMax: whole(5, 0, {
      description:
        "Clones upon clones up to here; a deeper one is flattened in the background, 0 always copies. Cinder's `rbd_max_clone_depth`.",
    }),
    cacheSizeBytesMax: whole(0, 0, {
      unit: "bytes",
      zeroIsUnlimited: true,
      description:
        "The least recently used cache entries are dropped beyond this. Cinder's `image_volume_cache_max_size_gb` is unlimited too.",
    }),
    cacheCountMax: whole(0, 0, {
      zeroIsUnlimited: true,
      description: "As above, in entries. Cinder's `image_volume_cache_max_count`.",
    }),
    cacheCleanBelowPercentage: Type.Integer({
      default: 20,
      minimum: 0,
      maximum: 100,
      unit: "%",
      description:
        "With less than this of the pool free, cached images that nobody used lately go, the least recently used first; 0 is never. NetApp's `thres_avl_size_perc_start`.",
    }),
    cacheCleanUntilPercentage: Type.Integer({
      default: 60,
      minimum: 0,
      maximum: 100,
      unit: "%",
      description: "As soon as this much is free, the others stay. NetApp's `thres_avl_size_perc_stop`.",
    }),
    cacheIdleMsMin: whole(12 * HOUR_MS, 0, {
      unit: "ms",
      description: "Images that were used since stay: they are likely to be asked for again. NetApp's `expiry_thres_minutes` (720).",
    }),
    cacheUnusedMsMax: whole(DAY_MS, 0, {
      unit: "ms",
      zeroIsUnlimited: true,
      description:
        "Images that were not used for so long, and that no disk reads through, go also where there is room: most are never asked for again. Nova's `remove_unused_original_minimum_age_seconds` (86400); 0 is its `remove_unused_base_images` = False.",
    }),
    concurrencyMax: whole(8, 1, {
      description: "Heavy operations (convert, copy, flatten) at once; more of them wait. Past a few, a disk only gets slower for all.",
    }),
    bandwidthBytesPerSecondMax: whole(0, 0, {
      unit: "bytes/s",
      zeroIsUnlimited: true,
      description: "For bytes that pass through Mica, so that running guests keep their share. Cinder's `volume_copy_bps_limit`.",
    }),
  },
  { additionalProperties: false },
);
export type PoolConfig = Type.Static<typeof POOL_SCHEMA>;

export const CONFIG_SCHEMA = Type.Object({
  dataDir: text({
    path: true,
    derived: "`$XDG_DATA_HOME/mica`, else `~/.local/share/mica`",
    description: "The database, keys, staging and the default pool. One folder to back up, move or delete.",
  }),
  listen: text({
    default: "127.0.0.1:6422",
    pattern: "^(\\[[0-9a-fA-F:]+\\]|[^:\\s]+):\\d{1,5}$",
    says: "HOST:PORT, an IPv6 host in [ ], port 0 for any free one",
    description:
      "Loopback, since there is no TLS here. 6422 spells MICA on a phone, is assigned to nobody, and is no port of an OpenStack service.",
  }),
  publicUrl: Type.Optional(
    text({
      pattern: "^https?://[^\\s?#]+$",
      says: "an http or https URL",
      derived: "`http://` and the address that `listen` got",
      description: "What the catalog tells clients; set it behind a proxy or TLS.",
    }),
  ),
  adminPassword: Type.Optional(
    text({
      secret: true,
      derived: "made at the first start, written to `clouds.yaml`",
      description: "Password of the user `admin`. Environment only: files are copied, and flags are seen by every process.",
    }),
  ),
  tokenLifetimeMs: whole(HOUR_MS, 60 * SECOND_MS, {
    unit: "ms",
    description: "Keystone's `[token] expiration`: long enough for a session, short enough for a lost token.",
  }),
  logLevel: Type.Enum(["trace", "debug", "info", "warn", "error", "silent"], {
    default: "info",
    description: "`info` has one line per request and two per step of an operation.",
  }),
  availabilityZone: text({ default: "nova", description: "The zone of volumes and their service: Cinder's `storage_availability_zone`." }),
  defaultVolumeType: text({ default: "__DEFAULT__", description: "The type of a volume that names none: Cinder's own name for it." }),
  enableForceUpload: Type.Boolean({
    default: false,
    description: "Whether a volume in use may become an image with `force`: of one instant, with file systems frozen where the guest's agent can, else as after a loss of power. Cinder's `enable_force_upload`.",
  }),
  internalTenantProjectId: Type.Optional(text({ derived: "none", description: "Whose quota images take that are volumes. Cinder's `cinder_internal_tenant_project_id`." })),
  internalTenantUserId: Type.Optional(text({ derived: "none", description: "And whose they are on record. Cinder's `cinder_internal_tenant_user_id`." })),
  allowedDirectUrlSchemes: Type.Array(Type.Enum([...DIRECT_URL_SCHEMES]), {
    default: [],
    uniqueItems: true,
    description: "Locations of images that may be volumes: `cinder` makes an image of the volume that it names. Cinder's `allowed_direct_url_schemes`.",
  }),
  volumeUploads: Type.Object({
    compressClusters: Type.Boolean({
      default: true,
      description: "A volume that becomes a qcow2 image gets compressed clusters: a third of the bytes, for some processor time. Cinder's `image_compress_on_upload`.",
    }),
    clusterCompression: Type.Enum([...CLUSTER_COMPRESSIONS], {
      default: "zstd",
      description: "How: zstd takes a quarter of zlib's processor time, and QEMU reads it since 5.1 (2020); choose zlib for older readers.",
    }),
    vmdkSubformat: Type.Enum(["monolithicSparse", "streamOptimized"], {
      default: "monolithicSparse",
      description: "QEMU's own default, as in Cinder; streamOptimized is compressed and what vCenter imports. Both are in Cinder's `vmdk_allowed_types`.",
    }),
    allowCompressed: Type.Boolean({
      default: false,
      description: "Whether a volume may become an image of container format `compressed`. Cinder's `allow_compression_on_image_upload`.",
    }),
    compression: Type.Enum([...COMPRESSIONS], {
      default: "gzip",
      description: "How such an image is compressed: any Cinder reads gzip; zstd is several times faster and smaller. Cinder's `compression_format`.",
    }),
  }),
  cacheCleanIntervalMs: whole(600 * SECOND_MS, SECOND_MS, {
    unit: "ms",
    description: "How often pools are looked at for `cacheCleanBelowPercentage`. NetApp's `netapp_nfs_image_cache_cleanup_interval`.",
  }),
  images: Type.Object({
    showDirectUrl: Type.Boolean({
      default: false,
      description: "Whether an image shows `direct_url`, where its bytes are: it tells users of the pools. Glance's `show_image_direct_url`.",
    }),
    showMultipleLocations: Type.Boolean({
      default: false,
      description: "Whether an image shows `locations`, and its owner may add one by PATCH. Glance's `show_multiple_locations`, which OSSN-0065 advises against.",
    }),
    secureHash: Type.Boolean({
      default: true,
      description: "Whether all bytes of an image that is registered by its location are read once for its hashes. Glance's `do_secure_hash`.",
    }),
  }),
  imageSizeBytesMax: whole(TiB, 1, { unit: "bytes", description: "The longest upload. Glance's `image_size_cap`." }),
  volumeSizeBytesMax: whole(64 * TiB, GiB, {
    unit: "bytes",
    description: "The largest volume: beyond it file systems and qcow2 with 64 KiB clusters come to their limits.",
  }),
  pages: Type.Object({
    defaultLimit: whole(25, 1, { unit: "records", description: "A list of images without `limit`. Glance's `limit_param_default`." }),
    maxLimit: whole(1000, 1, { unit: "records", description: "The longest page. Glance's `api_limit_max`, Cinder's `osapi_max_limit`." }),
  }),
  quotas: Type.Object({
    volumes: whole(10, -1, { description: "Volumes of a project without quotas of its own; −1 for no limit. Cinder's `quota_volumes`." }),
    snapshots: whole(10, -1, { description: "As above. Cinder's `quota_snapshots`." }),
    gigabytes: whole(1000, -1, { unit: "GiB", description: "Volumes and snapshots together. Cinder's `quota_gigabytes`." }),
    perVolumeGigabytes: whole(-1, -1, { unit: "GiB", description: "One volume. Cinder's `per_volume_size_limit`." }),
    instances: whole(10, -1, { description: "Servers of a project without quotas of its own; −1 for no limit. Nova's `quota_instances`, as all of these." }),
    cores: whole(20, -1, { description: "The virtual processors of its servers together." }),
    ramMib: whole(51_200, -1, { unit: "MiB", description: "Their memory together." }),
    keyPairs: whole(100, -1, { description: "The key pairs of a user." }),
    metadataItems: whole(128, -1, { description: "The metadata of one server." }),
    serverGroups: whole(10, -1, { description: "Its server groups." }),
    serverGroupMembers: whole(10, -1, { description: "The servers of one group." }),
    injectedFiles: whole(5, -1, { description: "Files given to a new server, as microversions up to 2.56 can." }),
    injectedFileContentBytes: whole(10 * KiB, -1, { unit: "bytes", description: "The content of one of them." }),
    injectedFilePathBytes: whole(255, -1, { unit: "bytes", description: "The path of one of them." }),
  }),
  tools: Type.Object({
    addressSpaceBytesMax: whole(2 * GiB, GiB, {
      unit: "bytes",
      description:
        "For qemu-img on bytes that a user wrote: a crafted image must not eat the host. Cinder's `image_conversion_address_space_limit`.",
    }),
    cpuSecondsMax: whole(3600, 1, {
      unit: "CPU seconds",
      description: "For the same. Cinder's 60 cut off honest images: compressed ones take about 8 CPU seconds per GiB.",
    }),
    timeLimitMs: whole(6 * HOUR_MS, SECOND_MS, { unit: "ms", description: "No run of a tool waits longer, whatever the storage does." }),
  }),
  staging: Type.Object({
    dir: text({
      path: true,
      derived: "`<dataDir>/staging`",
      description: "For the few sources that cannot be read in place (a stream of an unknown format).",
    }),
    sizeBytesMax: whole(100 * GiB, 0, {
      unit: "bytes",
      description: "Reserved before the first byte, so that staging never fills the host.",
    }),
  }),
  operations: Type.Object({
    leaseMs: whole(30 * SECOND_MS, SECOND_MS, {
      unit: "ms",
      description: "How long a silent process keeps its operations. Three lost renewals in a row are a dead process, one is a busy disk.",
    }),
    retentionMs: whole(30 * DAY_MS, 0, {
      unit: "ms",
      description: 'Ended operations are shown this long, for the question "what happened last week?".',
    }),
    waitMs: whole(10 * MINUTE_MS, 0, {
      unit: "ms",
      description: "How long operations that a crash interrupted wait for pools, and for a hypervisor, that are down when Mica starts: these may take longer to come up. After that they fail, and are undone.",
    }),
  }),
  scheduler: Type.Object({
    capacityWeightMultiplier: Type.Number({
      default: 1,
      description:
        "Above 0, a volume goes where most is left to promise, among pools that are equal otherwise; below 0, where least is; at 0, to the first of them. Cinder's `capacity_weight_multiplier`.",
    }),
  }),
  servers: SERVERS_SCHEMA,
  hypervisor: HYPERVISOR_SCHEMA,
  worker: WORKER_SCHEMA,
  pools: Type.Array(POOL_SCHEMA, {
    minItems: 1,
    derived: "one pool `local` in `<dataDir>/pools/local`",
    description: "Where bytes live, in order of preference.",
  }),
});

/** The effective configuration: every option has its value, paths are absolute. */
export type Config = Type.Static<typeof CONFIG_SCHEMA>;
