import Type from "typebox";
import { oneAction, parserOf } from "#/api/parse.ts";
import type { Server } from "#/api/server.ts";
import { requireRole } from "#/domain/caller.ts";
import { AppError } from "#/domain/errors.ts";
import { IdParams, Nothing, strict } from "./fields.ts";
import type { ComputeApi } from "./compute-api.ts";
import { type Action, type Answer, action } from "./server-action.ts";
import { CHANGES } from "./server-changes-actions.ts";
import { IMAGES } from "./server-images-actions.ts";

const ACCEPTED: Answer = { status: 202 };

const Reboot = strict({ type: Type.String({ pattern: "^([hH][aA][rR][dD]|[sS][oO][fF][tT])$" }) });
const LockReason = Type.Union([Type.Null(), strict({ locked_reason: Type.Optional(Type.String({ minLength: 1, maxLength: 255 })) })]);
const ResetState = strict({ state: Type.Enum(["active", "error"]) });
const ConsoleOutput = Type.Object({ length: Type.Optional(Type.Union([Type.Integer({ minimum: -1 }), Type.String({ pattern: "^-?[0-9]{1,9}$" }), Type.Null()])) });

const parseLock = parserOf(LockReason);
const parseNothing = parserOf(Nothing);

const power = (name: "os-start" | "os-stop" | "pause" | "unpause" | "suspend" | "resume"): Action =>
  action(Nothing, async ({ api, request, serverId }) => {
    await api.serverOperations.power(request.caller, serverId, name);
    return ACCEPTED;
  });

/** The body of POST /servers/{id}/action has one key, the action's name. */
const ACTIONS: Readonly<Record<string, Action>> = {
  "os-start": power("os-start"),
  "os-stop": power("os-stop"),
  pause: power("pause"),
  unpause: power("unpause"),
  suspend: power("suspend"),
  resume: power("resume"),
  reboot: action(Reboot, async ({ api, request, serverId }, { type }) => {
    await api.serverOperations.power(request.caller, serverId, type.toUpperCase() === "HARD" ? "hardReboot" : "softReboot");
    return ACCEPTED;
  }),
  lock: async ({ api, request, serverId }, argument) => {
    const reason = request.microversion >= 73 ? parseLock(argument)?.locked_reason : void parseNothing(argument);
    await api.servers.lock(request.caller, serverId, reason ?? null);
    return ACCEPTED;
  },
  unlock: action(Nothing, async ({ api, request, serverId }) => {
    await api.servers.unlock(request.caller, serverId);
    return ACCEPTED;
  }),
  ...CHANGES,
  ...IMAGES,
  forceDelete: action(Nothing, async ({ api, request, serverId }) => {
    await api.serverOperations.delete(request.caller, serverId);
    return ACCEPTED;
  }),
  "os-resetState": action(ResetState, async ({ api, request, serverId }, { state }) => {
    await api.servers.resetState(request.caller, serverId, state);
    return ACCEPTED;
  }),
  "os-getConsoleOutput": action(ConsoleOutput, async ({ api, request, serverId }, { length }) => {
    const lines = length === undefined || length === null ? undefined : Number(length);
    return { status: 200, body: { output: await api.serverOperations.consoleOutput(request.caller, serverId, lines) } };
  }),
  migrate: refusedFor("admin", "bad_request", "No valid host was found. There is one host: nowhere to migrate to."),
  "os-migrateLive": refusedFor("admin", "bad_request", "No valid host was found. There is one host: nowhere to migrate to."),
  evacuate: refusedFor("admin", "bad_request", "No valid host was found. There is one host: nowhere to evacuate to."),
  injectNetworkInfo: refusedFor("admin", "not_supported", "Guests have no network information that could be injected."),
  resetNetwork: refusedFor("admin", "not_supported", "Guests have no network that could be reset."),
};

export function addServerActionRoutes(app: Server, api: ComputeApi): void {
  app.post("/servers/:id/action", { schema: { params: IdParams } }, async (request, reply) => {
    const [name, argument] = oneAction(request.body);
    const run = Object.hasOwn(ACTIONS, name) ? ACTIONS[name] : undefined;
    if (!run) throw new AppError("bad_request", `There is no such action: ${name}`);
    const { status, body, location } = await run({ api, request, serverId: request.params.id }, argument);
    if (location !== undefined) reply.header("location", location);
    return reply.code(status).send(body);
  });
}

/** What one host cannot do is refused once the server is known to be there, and the caller to be one who could do it elsewhere. */
function refusedFor(role: "member" | "admin", code: "bad_request" | "not_supported", message: string): Action {
  return async ({ api, request, serverId }) => {
    await api.servers.get(request.caller, serverId);
    requireRole(request.caller, role, "do this to servers");
    throw new AppError(code, message);
  };
}
