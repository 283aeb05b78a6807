import { POWER_STATES, type PowerState, type VmState } from "#/domain/server.ts";
import type { SagaContext } from "#/saga/context.ts";
import { bootGuest } from "#/saga/define-guest.ts";
import type { Saga, StepScope } from "#/saga/engine/saga.ts";
import { standingOf } from "#/saga/power-state.ts";
import { serverOf, settleFailed, settleServer } from "#/saga/server-record.ts";
import { stopGuest } from "#/vm/stop-guest.ts";

export const POWER_ACTIONS = ["os-start", "os-stop", "softReboot", "hardReboot", "pause", "unpause", "suspend", "resume"] as const;
export type PowerAction = (typeof POWER_ACTIONS)[number];

export interface PowerServer {
  readonly serverId: string;
  readonly action: PowerAction;
}

type Context = SagaContext<PowerServer>;

/**
 * Starts, stops, reboots, pauses or suspends the guest. The server's task says so already. There is nothing to undo: what
 * fails leaves the guest as it is, and the server says how that is.
 */
export const powerServer: Saga<Context> = {
  name: "power-server",
  steps: [
    {
      name: "act",
      run: async (context, scope) => ACTS[context.params.action].run(context, scope),
      undo: async (context, because) => settleFailed(context, because, await standingOf(context.hypervisor, context.params.serverId)),
    },
    {
      name: "publish",
      run: async (context) => {
        const { vmState, powerState } = ACTS[context.params.action];
        await settleServer(context, { vm_state: vmState, power_state: powerState });
      },
    },
  ],
};

interface Act {
  run(context: Context, scope: StepScope): Promise<void>;
  readonly vmState: VmState;
  readonly powerState: PowerState;
}

const RUNNING = { vmState: "active", powerState: POWER_STATES.running } as const;

const ACTS: Readonly<Record<PowerAction, Act>> = {
  "os-start": { run: boot, ...RUNNING },
  "os-stop": { run: stop, vmState: "stopped", powerState: POWER_STATES.shutDown },
  softReboot: { run: reboot, ...RUNNING },
  hardReboot: { run: pullAndBoot, ...RUNNING },
  pause: { run: ({ hypervisor, params }, { signal }) => hypervisor.pause(params.serverId, { signal }), vmState: "paused", powerState: POWER_STATES.paused },
  unpause: { run: ({ hypervisor, params }, { signal }) => hypervisor.resume(params.serverId, { signal }), ...RUNNING },
  suspend: { run: ({ hypervisor, params }, { signal }) => hypervisor.save(params.serverId, { signal }), vmState: "suspended", powerState: POWER_STATES.suspended },
  resume: { run: ({ hypervisor, params }, { signal }) => hypervisor.start(params.serverId, { signal }), ...RUNNING },
};

/** With the hardware that its records say now. */
async function boot(context: Context, { signal }: StepScope): Promise<void> {
  await bootGuest(context, await serverOf(context), signal);
}

async function stop({ hypervisor, limits, params }: Context, { signal }: StepScope): Promise<void> {
  await stopGuest(hypervisor, params.serverId, { ...limits.hypervisor, signal });
}

/** The guest shuts down by itself, so that nothing is lost, and boots. */
async function reboot(context: Context, scope: StepScope): Promise<void> {
  await stop(context, scope);
  await boot(context, scope);
}

/** What runs or was saved is lost, as with a reset button; it helps also where the guest is broken, or not defined any more. */
async function pullAndBoot(context: Context, scope: StepScope): Promise<void> {
  const { hypervisor, params } = context;
  await hypervisor.destroy(params.serverId);
  await hypervisor.discardSaved(params.serverId);
  await boot(context, scope);
}
