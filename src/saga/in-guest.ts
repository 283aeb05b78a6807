import type { SagaContext } from "#/saga/context.ts";
import type { ServerParams } from "#/saga/server-record.ts";

/** Changes the guest, where there is one. A server that is shelved away has none, also where it left its host only since one last looked: it starts with what its records say. */
export async function inGuest({ hypervisor, params }: SagaContext<ServerParams>, change: () => Promise<void>): Promise<void> {
  const isThere = async () => (await hypervisor.stat(params.serverId)) !== undefined;
  if (!(await isThere())) return;
  await change().catch(async (error: unknown) => {
    if (await isThere()) throw error;
  });
}
