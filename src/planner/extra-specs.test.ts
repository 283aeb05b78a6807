import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Value } from "#/lib/expression.ts";
import { matches, whyNotMatching } from "./extra-specs.ts";

/** Value, requirement, answer: as Cinder's own tests of the operators have them (cinder/tests/unit/scheduler/test_host_filters.py). */
const CASES: readonly [Value, string, boolean][] = [
  ["1", "1", true],
  ["", "1", false],
  ["3", "1", false],
  ["222", "2", false],
  ["4", "> 2", false],
  ["123", "= 123", true],
  ["124", "= 123", true],
  ["34", "= 234", false],
  ["34", "=", false],
  ["123", "s== 123", true],
  ["1234", "s== 123", false],
  ["1234", "s!= 123", true],
  ["123", "s!= 123", false],
  ["1000", "s>= 234", false],
  ["234", "s>= 1000", true],
  ["2", "s< 12", false],
  ["12", "s< 2", true],
  ["12", "s<= 12", true],
  ["2", "s> 12", true],
  ["12311321", "<in> 11", true],
  ["12310321", "<in> 11", false],
  [true, "<is> True", true],
  [true, "<is> yes", true],
  [false, "<is> False", true],
  [false, "<is> True", false],
  ["nfs", "<or> nfs <or> ceph", true],
  ["ceph", "<or> nfs <or> ceph", true],
  ["lvm", "<or> nfs <or> ceph", false],
  ["<or>", "<or> nfs <or> ceph", false],
  [40, ">= 40", true],
  [39.5, ">= 40", false],
  [40, "<= 40", true],
  [40, "== 40.0", true],
  [40, "!= 40", false],
  ["word", ">= 40", false],
  [true, "True", false],
];

describe("matches()", () => {
  for (const [value, requirement, expected] of CASES) {
    it(`${JSON.stringify(value)} ${expected ? "satisfies" : "does not satisfy"} "${requirement}"`, () => assert.equal(matches(value, requirement), expected));
  }
});

describe("whyNotMatching()", () => {
  const capabilities = { volume_backend_name: "fast", thin_provisioning_support: true, free_capacity_gb: 40 };

  it("takes keys in the scope capabilities, and bare ones", () => {
    assert.equal(whyNotMatching({ volume_backend_name: "fast", "capabilities:thin_provisioning_support": "<is> True" }, capabilities), undefined);
    assert.match(whyNotMatching({ "capabilities:volume_backend_name": "slow" }, capabilities) ?? "", /^its volume_backend_name is "fast", and the type wants slow$/);
  });

  it("leaves other scopes to others", () => {
    assert.equal(whyNotMatching({ "provisioning:type": "thin", "hw:x": "1" }, capabilities), undefined);
  });

  it("says which capability is missing, and how to write what is meant", () => {
    assert.equal(whyNotMatching({ compression: "<is> True" }, capabilities), 'it has no capability "compression"');
    assert.equal(whyNotMatching({ constructor: "x" }, capabilities), 'it has no capability "constructor"');
    assert.match(whyNotMatching({ thin_provisioning_support: "True" }, capabilities) ?? "", /write "<is> True"/);
  });
});
