import { parsePoolFunction } from "#/domain/pool-function.ts";
import type { PoolName } from "#/domain/ids.ts";
import { isTrue, type Value, type Values } from "#/lib/expression.ts";
import { formatBytes, GiB } from "#/lib/units.ts";
import { whyNotMatching } from "./extra-specs.ts";
import { type Plan, STRATEGIES } from "./plan.ts";
import { capabilitiesOf, type PoolFacts, statsOf, virtualFreeBytes } from "./pool-facts.ts";

/** A volume that needs a pool. */
export interface VolumeRequest {
  readonly sizeBytes: number;
  readonly typeName: string;
  readonly extraSpecs: Readonly<Record<string, string>>;
  readonly source: { readonly kind: "blank" | "image" | "volume" | "snapshot"; readonly id?: string | undefined };
}

export interface Obstacle {
  readonly pool: PoolName;
  /** `type`: the type excludes the pool. `closed`: it takes no disks. `room`: it has too little. `function`: its own filter says no. */
  readonly kind: "closed" | "type" | "room" | "function";
  readonly because: string;
}

/**
 * Why the pool cannot take the volume; undefined where it can. In the order of Cinder's filters: extra specs, state, capacity,
 * the pool's own `filterFunction`.
 */
export function obstacleTo(pool: PoolFacts, request: VolumeRequest): Obstacle | undefined {
  const obstacle = (kind: Obstacle["kind"], because: string | undefined) => because && ({ pool: pool.name, kind, because } as const);
  return (
    obstacle("type", whyNotMatching(request.extraSpecs, capabilitiesOf(pool))) ||
    obstacle("closed", pool.closed) ||
    obstacle("room", whyNoRoom(pool, request.sizeBytes, isThick(request))) ||
    obstacle("function", whyFiltered(pool, request)) ||
    undefined
  );
}

/**
 * Why so many bytes more cannot be promised. Cinder's rule for thin pools (cinder/scheduler/filters/capacity_filter.py): what is
 * promised in all may be `overSubscriptionRatioMax` times the pool, and this one volume as many times what is free.
 */
export function whyNoRoom({ name, room, limits, can }: Pick<PoolFacts, "name" | "room" | "limits" | "can">, sizeBytes: number, isThick = false): string | undefined {
  if (!room) return `pool "${name}" cannot say how much room it has`;
  const ratio = can.sparse && !isThick ? limits.overSubscriptionRatioMax : 1;
  const { totalBytes, freeBytes, provisionedBytes, reservedBytes } = room;
  const freeReally = freeBytes - reservedBytes - (totalBytes * limits.reservedPercentage) / 100;
  const promised = formatBytes(provisionedBytes + sizeBytes);
  if (!isThick && provisionedBytes + sizeBytes > totalBytes * ratio) return `pool "${name}" would have promised ${promised}, and may promise ${ratio} times its ${formatBytes(totalBytes)}`;
  if (sizeBytes > freeReally * ratio) return `pool "${name}" has ${formatBytes(Math.max(0, freeReally))} free, and may promise ${ratio} times that`;
  return undefined;
}

/** A pool that can take the volume, and how it would be made there. */
export interface Candidate {
  readonly pool: PoolFacts;
  readonly plan: Plan;
}

/**
 * Chooses among pools that can take the volume: the cheapest way of making it first, since a clone beats any copy; then the
 * highest goodness; then the most room (with a negative multiplier the least, with 0 it does not count); then the operator's order. The plan says
 * why, and what was against each other pool.
 */
export function choosePool(candidates: readonly Candidate[], request: VolumeRequest, { capacityWeightMultiplier }: { capacityWeightMultiplier: number }, obstacles: readonly Obstacle[] = []): Plan {
  const ranked = candidates.map((candidate) => rank(candidate, request, capacityWeightMultiplier)).toSorted(byRank);
  const [best, ...others] = ranked;
  if (!best) throw new Error("Broken invariant: there is at least one pool");
  if (ranked.length + obstacles.length === 1) return best.plan;
  const passedOver = [...others.map((other) => ({ pool: other.pool, because: whyBehind(other, best) })), ...obstacles.map(({ pool, because }) => ({ pool, because }))];
  return { ...best.plan, poolChoice: { because: whyChosen(best, others), passedOver } };
}

interface Ranked {
  readonly pool: PoolName;
  readonly plan: Plan;
  readonly cost: number;
  readonly goodness: Goodness;
  readonly room: number;
  readonly freeBytes: number;
}

function rank({ pool, plan }: Candidate, request: VolumeRequest, multiplier: number): Ranked {
  const freeBytes = pool.room ? virtualFreeBytes(pool.room, pool.limits, pool.can.sparse && !isThick(request)) : 0;
  const cost = plan.strategy === "blank" ? -1 : STRATEGIES.indexOf(plan.strategy);
  return { pool: pool.name, plan, cost, goodness: goodnessOf(pool, request), room: freeBytes * Math.sign(multiplier), freeBytes };
}

/** `toSorted` keeps the operator's order among equals. */
function byRank(a: Ranked, b: Ranked): number {
  return a.cost - b.cost || b.goodness.value - a.goodness.value || b.room - a.room;
}

function whyChosen(best: Ranked, others: readonly Ranked[]): string {
  const where = `Pool "${best.pool}"`;
  const near = others[0];
  if (!near) return `${where} is the only one that can take it.`;
  if (near.cost !== best.cost) return `${where} has the cheapest way to make it, ${best.plan.strategy}.`;
  if (near.goodness.value !== best.goodness.value) return `${where} has the highest goodness, ${best.goodness.value}, among those with the cheapest way.`;
  if (near.room !== best.room) return `${where} has the ${best.room < 0 || near.room < 0 ? "least" : "most"} left to promise, ${formatBytes(Math.max(0, best.freeBytes))}, among equals.`;
  return `${where} comes first in the operator's order among equals.`;
}

function whyBehind(other: Ranked, best: Ranked): string {
  const { plan, goodness, freeBytes } = other;
  if (other.cost !== best.cost) return `its way would be ${plan.strategy}, which is dearer than ${best.plan.strategy}`;
  if (goodness.value !== best.goodness.value) return goodness.failed ?? `its goodness is ${goodness.value}, that of "${best.pool}" ${best.goodness.value}`;
  if (other.room !== best.room) return `it has ${formatBytes(Math.max(0, freeBytes))} left to promise, "${best.pool}" ${formatBytes(Math.max(0, best.freeBytes))}`;
  return `"${best.pool}" comes before it in the operator's order`;
}

interface Goodness {
  /** From 0 to 100. */
  readonly value: number;
  readonly failed?: string;
}

/** As Cinder's goodness weigher: yes is 100, no and whatever fails or leaves the range is 0 (cinder/scheduler/weights/goodness.py). */
function goodnessOf(pool: PoolFacts, request: VolumeRequest): Goodness {
  const { goodnessFunction } = pool.limits;
  if (goodnessFunction === undefined) return { value: 0 };
  const result = evaluate(goodnessFunction, pool, request);
  if ("failed" in result) return { value: 0, failed: `its goodnessFunction fails: ${result.failed}` };
  const { value } = result;
  if (typeof value === "boolean") return { value: value ? 100 : 0 };
  if (typeof value === "number" && value >= 0 && value <= 100) return { value };
  return { value: 0, failed: `its goodnessFunction gives ${JSON.stringify(value)}, not a number from 0 to 100` };
}

function whyFiltered(pool: PoolFacts, request: VolumeRequest): string | undefined {
  const { filterFunction } = pool.limits;
  if (filterFunction === undefined) return undefined;
  const result = evaluate(filterFunction, pool, request);
  if ("failed" in result) return `its filterFunction fails: ${result.failed}`;
  return isTrue(result.value) ? undefined : `its filterFunction says no: ${filterFunction}`;
}

function evaluate(text: string, pool: PoolFacts, request: VolumeRequest): { readonly value: Value } | { readonly failed: string } {
  try {
    return { value: parsePoolFunction(text).evaluate(valuesFor(pool, request)) };
  } catch (error) {
    return { failed: (error as Error).message };
  }
}

function valuesFor(pool: PoolFacts, { sizeBytes, typeName, extraSpecs, source }: VolumeRequest): Values {
  const idOf = (kind: string) => (source.kind === kind ? (source.id ?? "") : "");
  return {
    stats: statsOf(pool),
    capabilities: capabilitiesOf(pool),
    volume: {
      size: Math.ceil(sizeBytes / GiB),
      source: source.kind,
      image_id: idOf("image"),
      snapshot_id: idOf("snapshot"),
      source_volid: idOf("volume"),
      volume_type: typeName,
    },
    extra: extraSpecs,
    qos: {},
  };
}

const isThick = ({ extraSpecs }: VolumeRequest): boolean => extraSpecs["provisioning:type"] === "thick";

