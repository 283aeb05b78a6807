import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import type { Caller } from "./caller.ts";
import { AppError } from "./errors.ts";
import { imageId, projectId, userId } from "./ids.ts";
import { type Image, NO_DATA } from "./image.ts";
import { applyChanges, type ImageChange } from "./image-patch.ts";

const MEMBER: Caller = {
  userId: userId("u"),
  userName: "u",
  projectId: projectId("p"),
  roles: new Set(["member", "reader"]),
  requestId: "req-1",
  isService: false,
};
const ADMIN: Caller = { ...MEMBER, roles: new Set(["admin", "member", "reader"]) };

const IMAGE: Image = {
  ...NO_DATA,
  id: imageId("i"),
  name: null,
  owner: "p",
  status: "queued",
  visibility: "shared",
  diskFormat: null,
  containerFormat: null,
  minDiskGib: 0,
  minRamMib: 0,
  isProtected: false,
  isHidden: false,
  tags: [],
  diskId: null,
  properties: { a: "1" },
  createdAtMs: 0,
  updatedAtMs: 0,
};

describe("applyChanges()", () => {
  it("does to properties what a map does, and refuses what a map has not", () => {
    fc.assert(
      fc.property(fc.array(propertyChange, { maxLength: 20 }), (changes) => {
        const expected = changes.reduce(model, new Map([["a", "1"]]) as Map<string, string> | "refused");
        const actual = attempt(() => new Map(Object.entries(applyChanges(IMAGE, changes, MEMBER).properties)));
        assert.deepEqual(actual, expected);
      }),
    );
  });

  it("leaves the image that it is given as it is", () => {
    const before = structuredClone(IMAGE);
    applyChanges(
      IMAGE,
      [
        { op: "add", property: "b", value: "2" },
        { op: "replace", field: "tags", value: ["x"] },
      ],
      MEMBER,
    );
    assert.deepEqual(IMAGE, before);
  });

  it("keeps a tag once", () => {
    assert.deepEqual(applyChanges(IMAGE, [{ op: "replace", field: "tags", value: ["x", "y", "x"] }], MEMBER).tags, ["x", "y"]);
  });

  it("lets properties that are too many be fewer, but not others", () => {
    const crowded = { ...IMAGE, properties: Object.fromEntries(Array.from({ length: 130 }, (_, n) => [`p${n}`, "1"])) };
    assert.equal(applyChanges(crowded, [{ op: "replace", field: "name", value: "n" }], MEMBER).name, "n");
    assert.throws(() => applyChanges(crowded, [{ op: "add", property: "q", value: "1" }], MEMBER), { code: "quota_exceeded" });
  });

  for (const [name, changes, caller, image, code] of refusals()) {
    it(`refuses ${name}`, () => assert.throws(() => applyChanges({ ...IMAGE, ...image }, changes, caller), { code }));
  }

  for (const [name, changes, caller, image] of permissions()) {
    it(`allows ${name}`, () => void applyChanges({ ...IMAGE, ...image }, changes, caller));
  }
});

type Refusal = [name: string, changes: ImageChange[], caller: Caller, image: Partial<Image>, code: string];

function refusals(): Refusal[] {
  return [
    [
      "a new format once there are bytes",
      [{ op: "replace", field: "diskFormat", value: "raw" }],
      ADMIN,
      { status: "active", diskFormat: "qcow2" },
      "forbidden",
    ],
    [
      "another container once there are bytes",
      [{ op: "replace", field: "containerFormat", value: "ova" }],
      ADMIN,
      { status: "saving", containerFormat: "bare" },
      "forbidden",
    ],
    ["to publish by a member", [{ op: "replace", field: "visibility", value: "public" }], MEMBER, {}, "forbidden"],
    ["another owner by a member", [{ op: "add", field: "owner", value: "q" }], MEMBER, {}, "forbidden"],
    ["to remove an attribute", [{ op: "remove", field: "name" }], ADMIN, {}, "forbidden"],
    ["to add an attribute in the older draft", [{ op: "add", field: "name", value: "n", onlyNew: true }], ADMIN, {}, "conflict"],
    ["to add what is there in the older draft", [{ op: "add", property: "a", value: "n", onlyNew: true }], ADMIN, {}, "conflict"],
  ];
}

function permissions(): [name: string, changes: ImageChange[], caller: Caller, image: Partial<Image>][] {
  return [
    [
      "the same format once more",
      [{ op: "replace", field: "diskFormat", value: "qcow2" }],
      MEMBER,
      { status: "active", diskFormat: "qcow2" },
    ],
    [
      "a member to leave a public image public",
      [{ op: "replace", field: "visibility", value: "public" }],
      MEMBER,
      { visibility: "public" },
    ],
    ["the administrator to publish", [{ op: "replace", field: "visibility", value: "public" }], ADMIN, {}],
  ];
}

const name = fc.constantFrom("a", "b", "c");
const propertyChange: fc.Arbitrary<ImageChange> = fc.oneof(
  fc.record({ op: fc.constantFrom("add" as const, "replace" as const), property: name, value: fc.string(), onlyNew: fc.boolean() }),
  fc.record({ op: fc.constant("remove" as const), property: name }),
);

function model(properties: Map<string, string> | "refused", change: ImageChange): Map<string, string> | "refused" {
  if (properties === "refused" || !("property" in change)) return "refused";
  const isThere = properties.has(change.property);
  if (change.op !== "add" && !isThere) return "refused";
  if (change.op === "add" && change.onlyNew && isThere) return "refused";
  if (change.op === "remove") properties.delete(change.property);
  else properties.set(change.property, change.value);
  return properties;
}

function attempt<T>(work: () => T): T | "refused" {
  try {
    return work();
  } catch (error) {
    assert(error instanceof AppError && error.code === "conflict");
    return "refused";
  }
}
