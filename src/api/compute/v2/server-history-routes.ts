import { hostname } from "node:os";
import Type from "typebox";
import type { Server } from "#/api/server.ts";
import type { ServerActionTable } from "#/db/server-tables.ts";
import { AppError } from "#/domain/errors.ts";
import { IdParams } from "./fields.ts";
import { Query, STRICT_QUERIES_SINCE } from "./query.ts";
import type { ComputeApi } from "./compute-api.ts";
import { hostIdOf } from "./servers-view.ts";
import { preciseTimeView } from "./time.ts";
import type { Viewer } from "./viewer.ts";

const RequestParams = Type.Object({ id: Type.String(), requestId: Type.String() });

/** What was asked for of a server, and what became of it. */
export function addServerHistoryRoutes(app: Server, { servers, viewers, limitMax }: ComputeApi): void {
  app.get("/servers/:id/os-instance-actions", { schema: { params: IdParams } }, async (request) => {
    const { caller, params, microversion } = request;
    const all = await servers.actions(caller, params.id);
    const viewer = viewers.of(request);
    if (microversion < 58) return { instanceActions: all.map((action) => actionView(action, microversion)) };
    const query = new Query(request.query);
    const page = query.takePage(limitMax);
    const since = takeTime(query, "changes-since");
    const before = microversion >= 66 ? takeTime(query, "changes-before") : undefined;
    query.refuseRest(microversion, STRICT_QUERIES_SINCE);
    const wanted = all.filter((action) => updatedAt(action) >= (since ?? 0) && updatedAt(action) <= (before ?? Number.POSITIVE_INFINITY));
    const { records, more } = pageOf(wanted, page);
    const links = viewer.nextLinks(more ? records.at(-1)?.request_id : undefined);
    return { instanceActions: records.map((action) => actionView(action, microversion)), ...(links && { links }) };
  });

  app.get("/servers/:id/os-instance-actions/:requestId", { schema: { params: RequestParams } }, async (request) => {
    const { caller, params, microversion } = request;
    const action = (await servers.actions(caller, params.id)).find(({ request_id }) => request_id === params.requestId);
    if (!action) throw new AppError("not_found", `Action ${params.requestId} not found`);
    const viewer = viewers.of(request);
    const shown = viewer.isAdmin || microversion >= 51 ? { events: [eventView(action, viewer)] } : {};
    return { instanceAction: { ...actionView(action, microversion), ...shown } };
  });
}

const updatedAt = ({ finished_at, started_at }: ServerActionTable): number => finished_at ?? started_at;

function actionView(action: ServerActionTable, minor: number): object {
  return {
    action: action.action,
    instance_uuid: action.server_id,
    request_id: action.request_id,
    project_id: action.project_id,
    user_id: action.user_id,
    start_time: preciseTimeView(action.started_at),
    message: action.result === "Error" ? "Error" : null,
    ...(minor >= 58 && { updated_at: preciseTimeView(updatedAt(action)) }),
  };
}

/** An action is one event here: Mica's own account of it, with its steps, is its operation. */
function eventView(action: ServerActionTable, { minor, isAdmin }: Viewer): object {
  const { action: name, started_at, finished_at, result, message } = action;
  return {
    event: `compute_${name}_instance`,
    start_time: preciseTimeView(started_at),
    finish_time: finished_at === null ? null : preciseTimeView(finished_at),
    result,
    traceback: null,
    ...(minor >= 62 && { hostId: hostIdOf({ project_id: action.project_id, host: hostname() }), ...(isAdmin && { host: hostname() }) }),
    ...(minor >= 84 && { details: message }),
  };
}

function pageOf(actions: readonly ServerActionTable[], { limit, marker }: { limit: number; marker: string | undefined }) {
  const place = marker === undefined ? -1 : actions.findIndex(({ request_id }) => request_id === marker);
  if (marker !== undefined && place < 0) throw new AppError("bad_request", `marker [${marker}] not found`);
  const rest = actions.slice(place + 1);
  return { records: rest.slice(0, limit), more: limit > 0 && rest.length > limit };
}

function takeTime(query: Query, name: string): number | undefined {
  const value = query.take(name);
  if (value === undefined) return undefined;
  const ms = Date.parse(/[T ]/.test(value) && !/(Z|[+-]\d\d:?\d\d)$/i.test(value) ? `${value}Z` : value);
  if (Number.isNaN(ms)) throw new AppError("bad_request", `Invalid value for ${name}: ${value} is no time.`);
  return ms;
}
