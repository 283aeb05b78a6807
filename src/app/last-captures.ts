import type { AppContext } from "#/app/context.ts";
import { doneOperations } from "#/db/operations.ts";
import type { OperationTable } from "#/db/tables.ts";
import type { ConsistencyLevel } from "#/domain/capture.ts";
import type { CaptureMethod, Plan, PlanBytes } from "#/planner/plan.ts";
import type { Actual } from "#/saga/context.ts";

/** What the last capture of a kind really did. Times in ms, points in time since 1970 UTC; `level` null where nobody looked. */
export interface LastCapture {
  readonly operationId: string;
  readonly endedAtMs: number;
  readonly durationMs: number;
  readonly bytes: PlanBytes;
  readonly level: ConsistencyLevel | null;
  readonly because: string | null;
  readonly freezeMs: number;
  readonly downtimeMs: number;
}

type Methods = Readonly<Record<string, CaptureMethod>>;

/** Of a server, or of a volume as images of the format. */
export type CapturesOf = { readonly server: string } | { readonly volume: string; readonly format: string };

/** How many of the newest operations are looked at. */
const LOOKED_AT = 100;

/** What is on record of earlier captures: measured, not estimated. */
export class LastCaptures {
  readonly #db: AppContext["db"];

  constructor({ db }: Pick<AppContext, "db">) {
    this.#db = db;
  }

  /** The newest capture by just these methods, of each disk the same one; undefined where none is on record. */
  async of(of: CapturesOf): Promise<(methods: Methods) => LastCapture | undefined> {
    const subjectId = "server" in of ? of.server : of.volume;
    const rows = await doneOperations(this.#db, { sagas: ["capture-server", "upload-volume"], subjectId, limit: LOOKED_AT });
    const done = rows.map(read).filter(({ plan }) => "server" in of || isImageOf(plan, of.format));
    return (methods) => done.filter(({ actual }) => isBy(actual, methods)).map(measured)[0];
  }
}

interface Done {
  readonly row: OperationTable;
  readonly plan: Plan | undefined;
  readonly actual: Actual;
}

function read(row: OperationTable): Done {
  return { row, plan: row.plan === null ? undefined : JSON.parse(row.plan), actual: row.actual === null ? {} : JSON.parse(row.actual) };
}

/** Snapshots of the volume, and images in compressed streams, are others. */
function isImageOf(plan: Plan | undefined, format: string): boolean {
  return plan?.target.kind === "image" && plan.target.format === format && plan.target.stream === undefined;
}

/** An upload of bytes that nobody writes to notes no methods. */
function isBy({ capture }: Actual, methods: Methods): boolean {
  const wanted = Object.entries(methods);
  if (!capture) return wanted.every(([, method]) => method === "at_rest");
  return wanted.length === Object.keys(capture.methods).length && wanted.every(([target, method]) => capture.methods[target] === method);
}

function measured({ row, actual: { bytesRead = 0, bytesWritten = 0, bytesThroughUs = 0, bytesTemporary = 0, capture } }: Done): LastCapture {
  const endedAtMs = row.ended_at ?? row.updated_at;
  return {
    operationId: row.id,
    endedAtMs,
    durationMs: endedAtMs - row.created_at,
    bytes: { read: bytesRead, written: bytesWritten, throughUs: bytesThroughUs, temporary: bytesTemporary },
    level: capture?.level ?? null,
    because: capture?.because ?? null,
    freezeMs: capture?.freezeMs ?? 0,
    downtimeMs: capture?.downtimeMs ?? 0,
  };
}
