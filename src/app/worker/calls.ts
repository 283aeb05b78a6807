import Type, { type Static, type TObject, type TProperties } from "typebox";
import Value from "typebox/value";
import { DISK_FORMATS } from "#/domain/disk.ts";
import { AppError } from "#/domain/errors.ts";
import { type DiskId, poolName } from "#/domain/ids.ts";
import type { DedupOptions, Lineage, NewDisk, StoredRef } from "#/storage/driver.ts";
import type { Pool } from "#/storage/pool.ts";
import type { Pools } from "#/storage/pools.ts";

const Id = Type.Unsafe<DiskId>(Type.String({ pattern: "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$" }));
const Bytes = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER });
const Format = Type.Enum([...DISK_FORMATS]);
/** Nothing but what is named here reaches a pool: no location, above all. */
const CLOSED = { additionalProperties: false };
/** A disk that is to be made. */
export const Target = Type.Object({ id: Id, format: Format, virtualSizeBytes: Bytes, frozen: Type.Optional(Type.Boolean()) }, CLOSED);
/** A disk that is there; `pool` where it lies in another pool of the same worker. */
export const Source = Type.Object({ id: Id, format: Format, virtualSizeBytes: Bytes, parent: Type.Optional(Id), pool: Type.Optional(Type.String()) }, CLOSED);
export const Range = Type.Object({ start: Bytes, end: Bytes }, CLOSED);
const OnlyId = { id: Id };

/** What a call runs with beside its parameters. */
export type CallOptions = DedupOptions & { readonly pools: Pools };

export interface WorkerCall {
  /** Checks the parameters, and does it. Errors: `bad_request`; those of the pool. */
  run(pool: Pool, parameters: unknown, options: CallOptions): Promise<unknown>;
}

/** The methods of a storage driver that are one question and one answer, by their names. */
export const CALLS: Readonly<Record<string, WorkerCall>> = {
  capacity: call({}, (pool) => pool.capacity()),
  stat: call(OnlyId, async (pool, { id }) => (await pool.stat(id)) ?? null),
  create: call({ target: Target }, (pool, { target }, options) => making(pool, target, () => pool.create(target, options))),
  clone: call({ source: Source, target: Target }, (pool, { source, target }, options) => making(pool, target, () => spelledOut(pool.clone(located(source, options), target, options)))),
  snapshot: call({ source: Source, target: Target }, (pool, { source, target }, options) => spelledOut(pool.snapshot(located(source, options), target, options))),
  copy: call({ source: Source, target: Target }, (pool, { source, target }, options) => making(pool, target, () => pool.copy(located(source, options), target, options))),
  resize: call({ disk: Source, virtualSizeBytes: Bytes }, (pool, { disk, virtualSizeBytes }, options) => pool.resize(disk, virtualSizeBytes, options)),
  flatten: call({ disk: Source }, (pool, { disk }, options) => pool.flatten(disk, options)),
  delete: call(OnlyId, (pool, { id }, options) => pool.delete(id, options)),
  /** Whether it can be opened so: its export's name says the rest. */
  open: call({ disk: Source, mode: Type.Enum(["read", "write"]) }, async (pool, { disk, mode }) => void (await pool.open(disk, mode))),
  dedup: call({ order: Type.Optional(Type.Array(Id)) }, (pool, { order }, options) => pool.dedup({ ...options, order })),
  measureSpace: call({}, (pool, _, options) => pool.measureSpace(options)),
};

function call<Properties extends TProperties>(
  properties: Properties,
  work: (pool: Pool, parameters: Static<TObject<Properties>>, options: CallOptions) => Promise<unknown>,
): WorkerCall {
  const schema = Type.Object(properties);
  return { run: async (pool, parameters, options) => work(pool, checked(schema, parameters), options) };
}

/** Errors: `bad_request`. */
export function checked<Schema extends TObject>(schema: Schema, parameters: unknown): Static<Schema> {
  if (Value.Check(schema, parameters)) return parameters as Static<Schema>;
  const [first] = Value.Errors(schema, parameters);
  throw new AppError("bad_request", `the parameters of the call are wrong: ${first?.instancePath ?? ""} ${first?.message ?? ""}`);
}

/** No location comes from outside: a caller names a pool, and the worker itself says where the disk lies in it. */
function located({ pool, ...disk }: Static<typeof Source>, { pools }: CallOptions): StoredRef {
  return pool === undefined ? disk : { ...disk, location: pools.get(poolName(pool)).locate(disk) };
}

/** Also says whether the disk was there before: whoever cancels when it has just been made has it removed, and only then. */
async function making(pool: Pool, { id }: Pick<NewDisk, "id">, make: () => Promise<unknown>): Promise<{ wasThere: boolean; made: unknown }> {
  const wasThere = (await pool.stat(id)) !== undefined;
  return { wasThere, made: await make() };
}

/** JSON has no undefined, which here says "stands alone", and is not the same as nothing said. */
async function spelledOut(made: Promise<Lineage>): Promise<unknown> {
  return Object.fromEntries(Object.entries(await made).map(([end, parent]) => [end, parent ?? null]));
}
