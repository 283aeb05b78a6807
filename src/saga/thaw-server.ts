import { setTimeout as delay } from "node:timers/promises";
import { findServer } from "#/db/servers.ts";
import { throwIfCancelled } from "#/domain/cancel.ts";
import { AppError, asAppError } from "#/domain/errors.ts";
import { HOUR_MS, SECOND_MS } from "#/lib/units.ts";
import type { SagaContext } from "#/saga/context.ts";
import type { Saga, StepScope } from "#/saga/engine/saga.ts";
import type { ServerParams } from "#/saga/server-record.ts";

type Context = SagaContext<ServerParams>;

/** How often an agent that did not answer is asked again, and for how long: after that its user has seen to the guest, or nobody will. */
const ASK_AGAIN_MS = 2 * SECOND_MS;
const LIMIT_MS = HOUR_MS;

/**
 * Lets the file systems of a guest go whose agent did not answer in time: it may wake up and freeze them only then. Goes on until the agent has answered, or
 * the guest has ended, and with it what it held.
 */
export const thawServer: Saga<Context> = {
  name: "thaw-server",
  steps: [{ name: "thaw", run: thawWhenItAnswers }],
};

async function thawWhenItAnswers(context: Context, { signal }: StepScope): Promise<void> {
  const { db, hypervisor, params } = context;
  for (const dueMs = performance.now() + LIMIT_MS; performance.now() < dueMs; ) {
    if (!(await findServer(db, params.serverId)) || (await isThawed(hypervisor, params.serverId, signal))) return;
    await delay(ASK_AGAIN_MS, undefined, { signal }).catch(() => throwIfCancelled(signal));
  }
  throw new AppError("agent_unavailable", "The agent in the guest did not answer for an hour: its file systems may be frozen. Reboot the server if it hangs.");
}

/** Also where there is nothing to thaw any more. */
async function isThawed(hypervisor: Context["hypervisor"], id: string, signal: AbortSignal): Promise<boolean> {
  try {
    const guest = await hypervisor.stat(id, { signal });
    if (!guest || guest.state === "shutoff" || guest.state === "crashed") return true;
    if (guest.state === "running") await hypervisor.thaw(id, { signal });
    return guest.state === "running";
  } catch (error) {
    if (!["agent_unavailable", "hypervisor_unavailable", "conflict"].includes(asAppError(error)?.code ?? "")) throw error;
    return false;
  }
}

/** Thaws the guest now, or as soon as its agent answers: that is kept on record, over the end of this process too. */
export async function thawSurely(context: SagaContext<object>, serverId: string): Promise<void> {
  const { db, hypervisor, runner, requestId, log } = context;
  try {
    await hypervisor.thaw(serverId);
  } catch (err) {
    log.warn({ server: serverId, err }, "the guest could not be thawed: its agent is asked until it answers");
    const meta = { projectId: null, userId: null, requestId, subject: { kind: "guest", id: serverId } };
    void runner.run(await db.transaction().execute((trx) => runner.begin(trx, thawServer, { serverId }, meta)));
  }
}
