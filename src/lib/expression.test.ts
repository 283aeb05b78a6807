import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { parseExpression, type Value } from "#/lib/expression.ts";

const values = {
  stats: { free_capacity_gb: 40, total_capacity_gb: "100", storage_protocol: "nfs", QoS_support: true },
  volume: { size: 8 },
  extra: {},
};
const evaluate = (text: string): Value => parseExpression(text).evaluate(values);

/** Each as Cinder's evaluator answers it (cinder/tests/unit/scheduler/test_... evaluator), true for 1 where a comparison is asked for. */
const CASES: readonly [string, Value][] = [
  ["1+1", 2],
  ["5 - 3 + 2", 4],
  ["2+3*4", 14],
  ["(2+3)*4", 20],
  ["10 / 4", 2.5],
  ["2^3^2", 512],
  ["-2^2", -4],
  ["-(1+2)*3", -9],
  ["1.5 + .5 * 0".replace(".5 *", "0.5 *"), 1.5],
  ["abs(-5)", 5],
  ["max(1, 2, 3) + min(4, 5)", 7],
  ["max(abs(-7), 3)", 7],
  ["5 > 4", true],
  ["1 < 2 < 3", true],
  ["1 < 3 < 2", false],
  ["3 <> 4", true],
  ["1 == 1 and 2 != 3", true],
  ["1 > 2 or 4 >= 4", true],
  ["1 > 2 || 4 < 4", false],
  ["1 && 5", 5],
  ["0 or 7", 7],
  ["not (1 > 2)", true],
  ["!0", true],
  ["NOT 1 == 0", false],
  ["5 > 4 ? 10 : 20", 10],
  ["1 > 2 ? 10 : 2 > 1 ? 20 : 30", 20],
  ["stats.free_capacity_gb / stats.total_capacity_gb * 100", 40],
  ["stats.storage_protocol == 'nfs'", true],
  ["stats.storage_protocol == \"ceph\"", false],
  ["stats.QoS_support + 1", 2],
  ["(volume.size < 10) ? 100 : 50", 100],
  ["stats.total_capacity_gb >= 100 AND volume.size <= 8", true],
];

describe("parseExpression()", () => {
  for (const [text, expected] of CASES) {
    it(`${text} is ${expected}`, () => assert.equal(evaluate(text), expected));
  }

  const WRONG: readonly [string, RegExp][] = [
    ["", /it ends where a number, a name or an opening bracket should follow/],
    ["1 +", /it ends where/],
    ["(1", /it ends where "\)" should follow/],
    ["1 2", /"2" \(at 3\) stands where an operator or the end should/],
    ["5 ? 1", /it ends where ":" should follow/],
    ["1 # 2", /"#" \(at 2\) means nothing here/],
    ["free > 1", /"free" \(at 1\) has no dot/],
    ["sqrt(4)", /no function "sqrt" \(at 1\): there are abs, max, min/],
    ["'open", /means nothing/],
    ["__proto__.x(1)", /no function/],
    ["1+".repeat(1500), /3000 characters, more than 2000/],
  ];
  for (const [text, words] of WRONG) {
    it(`says what is wrong with ${JSON.stringify(text.slice(0, 20))}`, () => assert.throws(() => parseExpression(text), words));
  }

  it("says what it cannot do with the values", () => {
    assert.throws(() => evaluate("extra.tier > 1"), /there is no extra.tier here/);
    assert.throws(() => evaluate("moon.x"), /there is no moon.x/);
    assert.throws(() => evaluate("stats.__proto__"), /there is no|is no number|object/);
    assert.throws(() => evaluate("1 / (volume.size - 8)"), /it divides by 0/);
    assert.throws(() => evaluate("stats.storage_protocol * 2"), /"nfs" is no number/);
    assert.throws(() => evaluate("stats.storage_protocol > 2"), /"nfs" cannot be compared with 2/);
  });

  it("knows its names", () => {
    assert.deepEqual(parseExpression("stats.a + stats.b * max(stats.a, volume.size)").names, ["stats.a", "stats.b", "volume.size"]);
  });

  it("stands deep nesting", () => {
    assert.equal(evaluate(`${"(".repeat(900)}1${")".repeat(900)}`), 1);
  });
});
