import { findServer } from "#/db/servers.ts";
import type { SagaContext } from "#/saga/context.ts";
import type { ServerParams } from "#/saga/server-record.ts";
import { forgetPassword, keepPassword } from "#/vm/admin-password.ts";

/** What only the process has that got the request, since it goes into no record: the password that its user was answered. */
interface GivenPassword {
  readonly password: string;
}

type Context = SagaContext<ServerParams> & Partial<GivenPassword>;

/** Keeps it for the config drives that are made from now on. A server without one has no way to be told. */
export async function keepGivenPassword({ db, limits, params, password }: Context, kind: "admin" | "rescue" = "admin"): Promise<void> {
  if (password === undefined || !(await findServer(db, params.serverId))?.config_drive) return;
  await keepPassword(limits.servers.dir, params.serverId, kind, password);
}

/** The server is rescued no more. */
export async function forgetRescuePassword({ limits, params }: SagaContext<ServerParams>): Promise<void> {
  await forgetPassword(limits.servers.dir, params.serverId, "rescue");
}
