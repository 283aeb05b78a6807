import { AppError, type ErrorCode } from "#/domain/errors.ts";
import type { Plan, Strategy } from "#/planner/plan.ts";
import type { SagaContext } from "#/saga/context.ts";

/** One way to a disk. `viaCache`: into the pool's cache first, then a clone of that. */
export interface Way {
  readonly strategy: Exclude<Strategy, "adopt"> | "blank";
  readonly viaCache: boolean;
}

/** The plan's way, then the dearer ones that are open too. A conversion that would fill the cache can do without it. */
export function waysOf({ strategy, fallbacks, fillsCache }: Plan): Way[] {
  if (strategy === "blank" || strategy === "adopt") return [{ strategy: "blank", viaCache: false }];
  const chosen = { strategy, viaCache: fillsCache || strategy === "clone_cached" };
  const withoutCache = fillsCache ? [{ strategy, viaCache: false }] : [];
  const dearer = fallbacks.filter((fallback) => fallback !== "adopt").map((fallback) => ({ strategy: fallback, viaCache: fallback === "clone_cached" }));
  return [chosen, ...withoutCache, ...dearer];
}

/** What a way needs to be tried, and to leave nothing behind for the next one. */
interface Attempts<Result> {
  take(way: Way): Promise<Result>;
  clear(): Promise<void>;
  readonly signal: AbortSignal;
}

/**
 * Takes the first way that works: where storage breaks one that should have been open, the next is as good an answer. What
 * was tried, and why it broke, is kept with the operation. Throws what the last way threw, or what no other way can mend.
 */
export async function takeFirstThatWorks<Result>(context: SagaContext<object>, ways: readonly Way[], { take, clear, signal }: Attempts<Result>): Promise<Result> {
  const fellBack: { strategy: string; because: string }[] = [];
  for (const [index, way] of ways.entries()) {
    try {
      return await take(way);
    } catch (error) {
      const isLast = index === ways.length - 1;
      if (isLast || signal.aborted || !(error instanceof AppError) || !isMendable(way, error.code)) throw error;
      await clear();
      context.log.warn({ operation: context.operationId, strategy: way.strategy, viaCache: way.viaCache, err: error }, "a way broke: the next one is taken");
      fellBack.push({ strategy: wordFor(way), because: error.message });
      await context.report({ fellBack });
    }
  }
  throw new Error("Broken invariant: there is no way to try");
}

/** The request, its record or its source is at fault: every way would end so. */
const HOPELESS: ReadonlySet<ErrorCode> = new Set(["cancelled", "gone", "bad_request", "conflict", "quota_exceeded", "image_unsafe", "image_format_mismatch"]);
/** What another conversion of the same bytes can do better: it needs less room, or reaches the source in another way. */
const MENDABLE_BY_CONVERSION: ReadonlySet<ErrorCode> = new Set(["pool_full", "image_store_full", "not_supported"]);

function isMendable({ strategy }: Way, code: ErrorCode): boolean {
  const isConversion = strategy === "stream_convert" || strategy === "staged_convert";
  return isConversion ? MENDABLE_BY_CONVERSION.has(code) : !HOPELESS.has(code);
}

function wordFor({ strategy, viaCache }: Way): string {
  return viaCache && strategy !== "clone_cached" ? `${strategy} into the cache` : strategy;
}
