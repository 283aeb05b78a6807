import Type from "typebox";

const id = Type.String({ minLength: 1, maxLength: 64 });

export const OperationParams = Type.Object({ id });

export const ListOperationsQuery = Type.Object(
  {
    limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000 })),
    marker: Type.Optional(id),
    subject: Type.Optional(id),
    state: Type.Optional(Type.Enum(["running", "undoing", "done", "undone", "stuck"])),
  },
  { additionalProperties: false },
);

export const ServerParams = Type.Object({ id });

export const PoolParams = Type.Object({ name: id });

/** A pool as in the configuration; `app/pool-admin.ts` says what is wrong with it. */
export const PoolRequest = Type.Object({ pool: Type.Object({}, { additionalProperties: true }) }, { additionalProperties: false });

export const LineageQuery = Type.Object(
  { disk: Type.Optional(id), image: Type.Optional(id), volume: Type.Optional(id), snapshot: Type.Optional(id) },
  { additionalProperties: false, minProperties: 1, maxProperties: 1 },
);

export const MappedParams = Type.Object({ id });

/** Bytes: of disks, up to the largest whole number that JSON has safely. */
const bytes = (minimum: number) => Type.Optional(Type.Integer({ minimum, maximum: Number.MAX_SAFE_INTEGER }));
const mapPage = { offset: bytes(0), length: bytes(1), limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 10_000 })) };

export const ExtentsQuery = Type.Object(mapPage, { additionalProperties: false });

export const ChangesQuery = Type.Object({ since: id, ...mapPage }, { additionalProperties: false });

/** What is to be made, and of what. `sizeGib` is needed for a volume unless its source says it. */
export const PlanRequest = Type.Object(
  {
    source: Type.Object(
      { kind: Type.Enum(["blank", "image", "volume", "snapshot", "server"]), id: Type.Optional(id) },
      { additionalProperties: false },
    ),
    target: Type.Object(
      {
        kind: Type.Enum(["volume", "image"]),
        sizeGib: Type.Optional(Type.Integer({ minimum: 1 })),
        volumeType: Type.Optional(Type.String({ minLength: 1, maxLength: 255 })),
        diskFormat: Type.Optional(Type.Enum(["raw", "qcow2", "vmdk", "vdi", "vhd", "vhdx"])),
        containerFormat: Type.Optional(Type.Enum(["bare", "compressed"])),
      },
      { additionalProperties: false },
    ),
  },
  { additionalProperties: false },
);
