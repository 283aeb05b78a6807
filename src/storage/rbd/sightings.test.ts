import assert from "node:assert/strict";
import { it } from "node:test";
import { Sightings } from "./sightings.ts";

const image = { pool: "volumes", namespace: "a", image: "one" };
const snapshot = { ...image, snapshot: "snap" };

it("knows what was seen a moment ago, and no longer", () => {
  let nowMs = 0;
  const sightings = new Sightings(() => nowMs);
  sightings.note(image);
  nowMs = 2000;
  sightings.note({ ...image, image: "two" });
  assert.ok(sightings.has(image));
  assert.ok(!sightings.has({ ...image, namespace: "b" }));
  nowMs = 4000;
  assert.ok(!sightings.has(image));
  assert.ok(sightings.has({ ...image, image: "two" }));
});

it("forgets an image together with its snapshots, and no other", () => {
  const sightings = new Sightings();
  const longer = { ...image, image: "one.partial" };
  for (const seen of [image, snapshot, longer]) sightings.note(seen);
  sightings.forget(image);
  assert.deepEqual([image, snapshot, longer].map((seen) => sightings.has(seen)), [false, false, true]);
});
