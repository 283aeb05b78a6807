import assert from "node:assert/strict";
import { it } from "node:test";
import { diskId } from "#/domain/ids.ts";
import { Sightings } from "./sightings.ts";

const image = { pool: "volumes", namespace: "a", image: "one" };
const snapshot = { ...image, snapshot: "snap" };

it("knows what was seen a moment ago, and no longer", () => {
  let nowMs = 0;
  const sightings = new Sightings(() => nowMs);
  sightings.note(image);
  nowMs = 2000;
  sightings.note({ ...image, image: "two" });
  assert.ok(sightings.find(image));
  assert.ok(!sightings.find({ ...image, namespace: "b" }));
  nowMs = 4000;
  assert.ok(!sightings.find(image));
  assert.ok(sightings.find({ ...image, image: "two" }));
});

it("forgets an image together with its snapshots, and no other", () => {
  const sightings = new Sightings();
  const longer = { ...image, image: "one.partial" };
  for (const seen of [image, snapshot, longer]) sightings.note(seen);
  sightings.forget(image);
  assert.deepEqual([image, snapshot, longer].map((seen) => sightings.find(seen) !== undefined), [false, false, true]);
});

it("tells what was said of a disk, until it is seen again", () => {
  const sightings = new Sightings();
  const stored = { id: diskId("4f6b0c3e-9d3b-4f0e-8a53-9d6f1f1f0a10"), sizeBytes: 2, allocatedBytes: 1, parent: undefined };
  sightings.note(image, stored);
  assert.equal(sightings.find(image)?.stored, stored);
  sightings.note(image);
  assert.equal(sightings.find(image)?.stored, undefined);
});
