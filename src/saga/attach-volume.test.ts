import { attachVolume } from "#/saga/attach-volume.ts";
import { sagaContract } from "#/saga/engine/contract.ts";
import { assertAttached, assertFree, reserve } from "../../test/support/attachments.ts";
import { ServerWorld } from "../../test/support/server-world.ts";

sagaContract("attachVolume", attachVolume, async () => {
  const world = await ServerWorld.open();
  const params = await reserve(world);
  return {
    context: world.context(params),
    assertDone: () => assertAttached(world, params),
    assertClean: () => assertFree(world, params),
    [Symbol.asyncDispose]: () => world[Symbol.asyncDispose](),
  };
});
