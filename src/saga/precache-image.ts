import { cachedImage } from "#/saga/cached-image.ts";
import type { SagaContext } from "#/saga/context.ts";
import type { Saga, StepScope } from "#/saga/engine/saga.ts";
import { waysOf } from "#/saga/fall-back.ts";
import { planOf, sourceDisk } from "#/saga/materialise.ts";

export interface PrecacheImage {
  readonly imageId: string;
}

/**
 * Fills a pool's cache with an image before the first server asks for it. Its plan is that of a server's disk. There is nothing to undo: the
 * entry is as good as one that a server would have made, and goes by the cache's own rules.
 */
export const precacheImage: Saga<SagaContext<PrecacheImage>> = {
  name: "precache-image",
  steps: [
    {
      name: "cache",
      run: cacheWhereItHelps,
    },
  ],
};

/** An image that is cloned where it lies needs no entry. */
async function cacheWhereItHelps(context: SagaContext<PrecacheImage>, scope: StepScope): Promise<void> {
  const plan = planOf(context);
  const source = await sourceDisk(context, plan);
  if (source && waysOf(plan)[0]?.viaCache) await cachedImage(context, plan, source, scope);
}
