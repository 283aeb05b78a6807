import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { POOL_FUNCTION_NAMES, parsePoolFunction } from "#/domain/pool-function.ts";
import { poolName } from "#/domain/ids.ts";
import { GiB } from "#/lib/units.ts";
import type { Capabilities } from "#/storage/driver.ts";
import { planBlank } from "./materialise.ts";
import type { Plan, Strategy } from "./plan.ts";
import { capabilitiesOf, type PoolFacts, statsOf } from "./pool-facts.ts";
import { choosePool, obstacleTo, type VolumeRequest } from "./schedule.ts";

const can: Capabilities = { clone: "independent", snapshot: true, offloadCopy: true, addressable: "write", mutable: true, sparse: true, place: "file:1", why: {} };
const limits = { overSubscriptionRatioMax: 20, reservedPercentage: 0 };
const room = { totalBytes: 100 * GiB, freeBytes: 40 * GiB, provisionedBytes: 200 * GiB, reservedBytes: 0 };

const pool = (name: string, facts: Partial<PoolFacts> = {}): PoolFacts => ({ name: poolName(name), driver: "file", can, room, volumes: 3, limits, ...facts });
const request = (changes: Partial<VolumeRequest> = {}): VolumeRequest => ({ sizeBytes: 10 * GiB, typeName: "gold", extraSpecs: {}, source: { kind: "blank" }, ...changes });

/** Name, pool, request, the obstacle's kind and a word of its reason; undefined where there is none. */
const CASES: readonly [string, PoolFacts, VolumeRequest, [string, RegExp] | undefined][] = [
  ["takes what fits", pool("a"), request(), undefined],
  ["refuses another backend's name", pool("a"), request({ extraSpecs: { volume_backend_name: "b" } }), ["type", /its volume_backend_name is "a"/]],
  ["says the type's reason before all others", pool("a", { closed: 'pool "a" is drained' }), request({ extraSpecs: { driver: "rbd" } }), ["type", /its driver is "file"/]],
  ["matches capabilities by operators", pool("a"), request({ extraSpecs: { "capabilities:free_capacity_gb": ">= 40", thin_provisioning_support: "<is> True", storage_protocol: "<or> nfs <or> file" } }), undefined],
  ["knows Ceph by Cinder's name for it", pool("a", { driver: "rbd" }), request({ extraSpecs: { storage_protocol: "ceph" } }), undefined],
  ["refuses while closed", pool("a", { closed: 'pool "a" is down: no cable' }), request(), ["closed", /no cable/]],
  ["refuses what would be promised too often", pool("a"), request({ sizeBytes: 1801 * GiB }), ["room", /would have promised 1\.95 TiB, and may promise 20 times its 100 GiB/]],
  ["refuses a volume larger than what is free as often", pool("a", { room: { ...room, freeBytes: GiB } }), request({ sizeBytes: 21 * GiB }), ["room", /has 1 GiB free/]],
  ["keeps the reserved part free", pool("a", { limits: { ...limits, reservedPercentage: 40 } }), request(), ["room", /has 0 B free/]],
  ["counts what operations are filling now", pool("a", { room: { ...room, reservedBytes: 40 * GiB } }), request(), ["room", /has 0 B free/]],
  ["promises a thick volume only what is there", pool("a"), request({ sizeBytes: 41 * GiB, extraSpecs: { "provisioning:type": "thick" } }), ["room", /has 40 GiB free, and may promise 1 times/]],
  ["promises once where holes take space", pool("a", { can: { ...can, sparse: false }, room: { ...room, provisionedBytes: 95 * GiB } }), request(), ["room", /may promise 1 times its 100 GiB/]],
  ["asks the pool's own filter", pool("a", { limits: { ...limits, filterFunction: "volume.size < 10" } }), request(), ["function", /^its filterFunction says no: volume.size < 10$/]],
  ["lets the filter say yes", pool("a", { limits: { ...limits, filterFunction: "volume.size <= 10 and stats.free_capacity_gb > 39" } }), request(), undefined],
  ["takes a filter that fails for a no", pool("a", { limits: { ...limits, filterFunction: "extra.tier == 'gold'" } }), request(), ["function", /its filterFunction fails: there is no extra\.tier here/]],
  ["lets the filter see extra specs", pool("a", { limits: { ...limits, filterFunction: "extra.tier == 'gold'" } }), request({ extraSpecs: { "x:tier": "1", tier: "gold" } }), ["type", /no capability "tier"/]],
  ["says so where nobody knows the room", pool("a", { room: undefined }), request(), ["room", /cannot say/]],
];

describe("obstacleTo()", () => {
  for (const [name, facts, asked, expected] of CASES) {
    it(name, () => {
      const obstacle = obstacleTo(facts, asked);
      assert.equal(obstacle?.kind, expected?.[0]);
      if (expected) assert.match(obstacle?.because ?? "", expected[1]);
    });
  }
});

const plan = (name: string, strategy: Strategy | "blank" = "blank"): Plan => ({ ...planBlank({ pool: poolName(name), virtualSizeBytes: GiB }), strategy });
const candidate = (name: string, facts: Partial<PoolFacts> = {}, strategy: Strategy | "blank" = "blank") => ({ pool: pool(name, facts), plan: plan(name, strategy) });
const spread = { capacityWeightMultiplier: 1 };
const more = { room: { ...room, provisionedBytes: 100 * GiB } };
const goodness = (goodnessFunction: string) => ({ limits: { ...limits, goodnessFunction } });

describe("choosePool()", () => {
  it("says nothing of a choice where there was none", () => {
    assert.equal(choosePool([candidate("a")], request(), spread).poolChoice, undefined);
  });

  it("takes the cheapest way, whatever the goodness and the room", () => {
    const { target, poolChoice } = choosePool([candidate("a", { ...more, ...goodness("100") }, "stream_convert"), candidate("b", {}, "clone")], request(), spread);
    assert.equal(target.pool, "b");
    assert.equal(poolChoice?.because, 'Pool "b" has the cheapest way to make it, clone.');
    assert.deepEqual(poolChoice?.passedOver, [{ pool: "a", because: "its way would be stream_convert, which is dearer than clone" }]);
  });

  it("takes the highest goodness among equally cheap ways, whatever the room", () => {
    const { target, poolChoice } = choosePool([candidate("a", more), candidate("b", goodness("capabilities.total_volumes * 10")), candidate("c", goodness("volume.size > 5"))], request(), spread);
    assert.equal(target.pool, "c");
    assert.match(poolChoice?.because ?? "", /highest goodness, 100/);
    assert.deepEqual(poolChoice?.passedOver.map(({ because }) => because), ['its goodness is 30, that of "c" 100', 'its goodness is 0, that of "c" 100']);
  });

  it("takes a goodness that fails or leaves its range for 0, and says so", () => {
    const { target, poolChoice } = choosePool([candidate("a", goodness("1 / 0")), candidate("b", goodness("101")), candidate("c", goodness("1"))], request(), spread);
    assert.equal(target.pool, "c");
    assert.deepEqual(poolChoice?.passedOver.map(({ because }) => because), ["its goodnessFunction fails: it divides by 0", "its goodnessFunction gives 101, not a number from 0 to 100"]);
  });

  it("spreads by what is left to promise, stacks with a negative multiplier, and keeps the operator's order with 0", () => {
    const candidates = [candidate("a"), candidate("b", more), candidate("c")];
    const chosen = (capacityWeightMultiplier: number) => choosePool(candidates, request(), { capacityWeightMultiplier });
    assert.match(chosen(1).poolChoice?.because ?? "", /Pool "b" has the most left to promise, 1\.86 TiB, among equals/);
    assert.match(chosen(-1).poolChoice?.because ?? "", /Pool "a" comes first in the operator's order among equals/);
    assert.deepEqual([1, -1, 0].map((multiplier) => chosen(multiplier).target.pool), ["b", "a", "a"]);
    assert.match(choosePool([candidate("a", more), candidate("b")], request(), { capacityWeightMultiplier: -1 }).poolChoice?.because ?? "", /Pool "b" has the least left/);
  });

  it("names what was against the pools that could not take it", () => {
    const { poolChoice } = choosePool([candidate("a")], request(), spread, [{ pool: poolName("b"), kind: "closed", because: 'pool "b" is drained' }]);
    assert.deepEqual(poolChoice, { because: 'Pool "a" is the only one that can take it.', passedOver: [{ pool: "b", because: 'pool "b" is drained' }] });
  });
});

describe("the names that functions of pools may use", () => {
  it("are those that a pool has", () => {
    assert.deepEqual(Object.keys(capabilitiesOf(pool("a"))).toSorted(), [...POOL_FUNCTION_NAMES.capabilities].toSorted());
    assert.deepEqual(Object.keys(statsOf(pool("a"))).toSorted(), [...POOL_FUNCTION_NAMES.stats].toSorted());
    const asked = POOL_FUNCTION_NAMES.volume.map((name) => `volume.${name} == volume.${name}`).join(" and ");
    assert.equal(obstacleTo(pool("a", { limits: { ...limits, filterFunction: asked } }), request()), undefined);
  });

  it("are refused where no pool has them", () => {
    assert.throws(() => parsePoolFunction("stats.freedom > 1"), /there is no stats\.freedom: stats has host, /);
    assert.throws(() => parsePoolFunction("pool.free > 1"), /names begin with stats, capabilities, volume, extra or qos/);
    assert.deepEqual(parsePoolFunction("extra.tier == 'gold' or qos.maxIOPS > 5").names, ["extra.tier", "qos.maxIOPS"]);
  });
});
