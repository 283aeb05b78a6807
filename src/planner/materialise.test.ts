import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { poolName } from "#/domain/ids.ts";
import { GiB, MiB } from "#/lib/units.ts";
import type { Capabilities } from "#/storage/driver.ts";
import type { Facts, SourceFacts, TargetFacts } from "./facts.ts";
import { planBlank, planMaterialise } from "./materialise.ts";
import type { Plan, Strategy } from "./plan.ts";

const overlay: Capabilities = { clone: "dependent", snapshot: true, offloadCopy: true, addressable: "write", mutable: true, sparse: true, place: "file:1", why: {} };
const reflink: Capabilities = { ...overlay, clone: "independent" };
const plain: Capabilities = { ...overlay, clone: "none", snapshot: false, offloadCopy: false, why: { clone: "the tape has no such call" } };
const far: Capabilities = { ...overlay, place: "file:2" };
const remote: Capabilities = { ...plain, place: "tape", addressable: "none", why: { addressable: "no tool can open it" } };
const fast = poolName("fast");
const slow = poolName("slow");

const image = (facts: Partial<SourceFacts> = {}): SourceFacts => ({
  kind: "image",
  id: "i",
  pool: fast,
  can: overlay,
  format: "raw",
  virtualSizeBytes: 2 * GiB,
  allocatedBytes: 600 * MiB,
  ownBytes: 600 * MiB,
  depth: 0,
  live: false,
  ...facts,
});
const live = (facts: Partial<SourceFacts> = {}) => image({ kind: "volume", id: "v", live: true, mayBeWritten: true, ...facts });
const volume = (facts: Partial<TargetFacts> = {}): TargetFacts => ({
  kind: "volume",
  pool: fast,
  can: overlay,
  format: "raw",
  virtualSizeBytes: 10 * GiB,
  cloneDepthMax: 5,
  cache: {},
  ...facts,
});
const toImage = (facts: Partial<TargetFacts> = {}) => volume({ kind: "image", virtualSizeBytes: 2 * GiB, ...facts });

/** Name, facts, strategy, the strategies passed over with a word of the reason, and more of the plan. */
type Case = [name: string, facts: Facts, strategy: Strategy, passedOver: [Strategy, RegExp][], plan?: Partial<Plan>];

const adoptKeeps: [Strategy, RegExp] = ["adopt", /keeps its disk/];
const isQcow2: [Strategy, RegExp] = ["clone", /is qcow2, and a volume's bytes must be plain/];

const CASES: readonly Case[] = [
  ["clones a raw image in its own pool", { source: image(), target: volume() }, "clone", [adoptKeeps], { depth: 1, dependsOnParent: true, fillsCache: false }],
  [
    "clones an image of another pool of the same place",
    { source: image({ pool: slow }), target: volume() },
    "clone",
    [adoptKeeps],
    { depth: 1, reason: `The image's bytes lie in pool "slow", which shares them with pool "fast": both are file:1. Nothing is moved.` },
  ],
  [
    "has two exports of one server copy, which share no bytes",
    { source: image({ pool: slow, can: { ...far, copyPlace: "server" } }), target: volume({ can: { ...overlay, copyPlace: "server" } }) },
    "offload_copy",
    [adoptKeeps, ["clone", /these share no bytes: file:2 is not file:1/], ["clone_cached", /no copy/]],
    { bytes: { read: 600 * MiB, written: 600 * MiB, throughUs: 0, temporary: 0 } },
  ],
  [
    "copies inside one place where clones are not wanted",
    { source: image({ pool: slow }), target: volume({ cloneDepthMax: 0 }) },
    "offload_copy",
    [adoptKeeps, ["clone", /cloneDepthMax/], ["clone_cached", /cloneDepthMax/]],
  ],
  ["makes an independent clone where the pool reflinks", { source: image({ can: reflink }), target: volume({ can: reflink }) }, "clone", [adoptKeeps], { depth: 0, dependsOnParent: false }],
  [
    "converts a qcow2 image, and keeps the result in the cache",
    { source: image({ format: "qcow2" }), target: volume() },
    "stream_convert",
    [adoptKeeps, isQcow2, ["clone_cached", /no copy of the image yet/], ["offload_copy", /is qcow2/]],
    { fillsCache: true, depth: 1, fallbacks: ["staged_convert"] },
  ],
  [
    "clones the cached copy of a qcow2 image",
    { source: image({ format: "qcow2" }), target: volume({ cache: { entry: { depth: 0 } } }) },
    "clone_cached",
    [adoptKeeps, isQcow2],
    { depth: 1, bytes: { read: 0, written: 0, throughUs: 0, temporary: 0 }, fallbacks: ["stream_convert", "staged_convert"] },
  ],
  [
    "converts straight into the volume where the cache is closed",
    { source: image({ format: "qcow2" }), target: volume({ cache: { closed: "pool \"fast\" has no cache" } }) },
    "stream_convert",
    [adoptKeeps, isQcow2, ["clone_cached", /has no cache/], ["offload_copy", /is qcow2/]],
    { fillsCache: false, depth: 0, dependsOnParent: false },
  ],
  [
    "fills the cache of another pool from a raw image",
    { source: image({ pool: slow, can: far }), target: volume() },
    "stream_convert",
    [adoptKeeps, ["clone", /is in pool "slow", the volume goes to "fast", and these share no bytes: file:2 is not file:1/], ["clone_cached", /no copy/], ["offload_copy", /is in pool "slow"/]],
    { fillsCache: true },
  ],
  [
    "copies where the clone depth limit forbids clones",
    { source: image(), target: volume({ cloneDepthMax: 0 }) },
    "offload_copy",
    [adoptKeeps, ["clone", /cloneDepthMax is 0/], ["clone_cached", /cloneDepthMax is 0/]],
    { bytes: { read: 600 * MiB, written: 600 * MiB, throughUs: 0, temporary: 0 }, depth: 0 },
  ],
  [
    "ignores the depth limit where clones are independent",
    { source: image({ can: reflink }), target: volume({ can: reflink, cloneDepthMax: 0 }) },
    "clone",
    [adoptKeeps],
    { flattenAfter: false },
  ],
  [
    "streams in a pool that can nothing, and says in the pool's words why",
    { source: image({ can: plain }), target: volume({ can: plain }) },
    "stream_convert",
    [adoptKeeps, ["clone", /the tape has no such call/], ["clone_cached", /the tape/], ["offload_copy", /no such call/]],
    { fillsCache: false },
  ],
  [
    "stages a qcow2 image that no tool can open in place",
    { source: image({ pool: slow, can: remote, format: "qcow2" }), target: volume() },
    "staged_convert",
    [adoptKeeps, isQcow2, ["clone_cached", /no copy/], ["offload_copy", /is qcow2/], ["stream_convert", /cannot be read in place: no tool can open it/]],
    { fillsCache: true, bytes: { read: 1200 * MiB, written: 1200 * MiB, throughUs: 1200 * MiB, temporary: 600 * MiB } },
  ],
  ["streams a raw image that no tool can open", { source: image({ pool: slow, can: remote }), target: volume() }, "stream_convert", [adoptKeeps, ["clone", /pool/], ["clone_cached", /no copy/], ["offload_copy", /pool/]]],
  [
    "stages a raw volume that no tool can open, on its way to qcow2",
    { source: live({ can: remote }), target: toImage({ format: "qcow2" }) },
    "staged_convert",
    [["adopt", /to be qcow2/], ["clone", /to be qcow2/], ["clone_cached", /for volumes/], ["offload_copy", /qcow2/], ["stream_convert", /a raw disk cannot be read in place/]],
  ],
  [
    "stages a qcow2 image for a pool in which no tool can write it",
    { source: live({ can: overlay }), target: toImage({ pool: slow, can: remote, format: "qcow2" }) },
    "staged_convert",
    [["adopt", /to be qcow2/], ["clone", /to be qcow2/], ["clone_cached", /for volumes/], ["offload_copy", /qcow2/], ["stream_convert", /a qcow2 disk cannot be written in place/]],
  ],
  [
    "clones a live volume, frozen first",
    { source: live(), target: volume() },
    "clone",
    [adoptKeeps],
    { steps: [{ name: "freeze", description: "Freeze the volume's disk." }, { name: "clone", description: "Clone the frozen disk." }] },
  ],
  [
    "copies a live volume as it was when it was frozen",
    { source: live(), target: volume({ cloneDepthMax: 0 }) },
    "offload_copy",
    [adoptKeeps, ["clone", /cloneDepthMax is 0/], ["clone_cached", /for volumes and servers from images/]],
    {
      steps: [
        { name: "freeze", description: "Freeze the volume's disk." },
        { name: "reserve", description: `Record the disk and reserve its space in pool "fast".` },
        { name: "copy", description: "Have the storage copy the disk." },
      ],
    },
  ],
  [
    "copies a volume into an image without a freeze where nobody writes to it meanwhile",
    { source: live({ mayBeWritten: false }), target: toImage({ cloneDepthMax: 0 }) },
    "offload_copy",
    [["adopt", /./], ["clone", /cloneDepthMax is 0/], ["clone_cached", /./]],
    {
      steps: [
        { name: "reserve", description: `Record the disk and reserve its space in pool "fast".` },
        { name: "copy", description: "Have the storage copy the disk." },
      ],
    },
  ],
  ["has the new disk flattened afterwards at the depth limit", { source: image({ kind: "snapshot", depth: 5 }), target: volume() }, "clone", [adoptKeeps], { depth: 6, flattenAfter: true }],
  ["lets an image adopt the frozen bytes of a volume that stands alone", { source: live(), target: toImage() }, "adopt", [], { depth: 0, dependsOnParent: false }],
  [
    "clones a volume that reads through a parent into an image, which is made independent afterwards",
    { source: live({ depth: 1 }), target: toImage() },
    "clone",
    [["adopt", /reads through a parent disk/]],
    {
      fillsCache: false,
      depth: 2,
      dependsOnParent: true,
      flattenAfter: true,
      fallbacks: ["stream_convert", "staged_convert"],
      reason:
        "The volume's bytes lie in the same pool, which shares them with the new disk. Nothing is moved. The image can be used at once, and is made independent of the volume in the background.",
    },
  ],
  [
    "lets the image of a server that is shelved adopt its disk with all that it reads through",
    { source: live({ kind: "server", depth: 1 }), target: toImage({ mayReadThrough: true }) },
    "adopt",
    [],
    { depth: 1, dependsOnParent: true, flattenAfter: false },
  ],
  [
    "has such an image flattened where it reads through too many",
    { source: live({ kind: "server", depth: 6 }), target: toImage({ mayReadThrough: true }) },
    "adopt",
    [],
    { depth: 6, flattenAfter: true },
  ],
  [
    "clones a server that is shelved into an image of another pool of the same place, which stays one",
    { source: live({ kind: "server" }), target: toImage({ pool: slow, mayReadThrough: true }) },
    "clone",
    [["adopt", /adopting leaves the bytes where they are/]],
    { depth: 1, flattenAfter: false, reason: 'The server\'s bytes lie in pool "fast", which shares them with pool "slow": both are file:1. Nothing is moved.' },
  ],
  [
    "clones a volume into an image of another pool of the same place",
    { source: live(), target: toImage({ pool: slow }) },
    "clone",
    [["adopt", /adopting leaves the bytes where they are/]],
    { depth: 1, flattenAfter: true, steps: [{ name: "freeze", description: "Freeze the volume's disk." }, { name: "clone", description: "Clone the frozen disk." }] },
  ],
  [
    "does not clone a volume into an image where its own pool cannot freeze it",
    { source: live({ can: { ...overlay, snapshot: false } }), target: toImage({ pool: slow }) },
    "offload_copy",
    [["adopt", /leaves the bytes/], ["clone", /its pool|the pool cannot freeze it/], ["clone_cached", /for volumes and servers from images/]],
  ],
  [
    "streams a raw volume into a compressed image",
    { source: live(), target: toImage({ format: "opaque", stream: { compression: "gzip", packed: "raw", engine: "zlib in 2 threads" } }) },
    "stream_convert",
    [["adopt", /to be compressed with gzip/], ["clone", /compressed/], ["clone_cached", /for volumes/], ["offload_copy", /compressed/]],
    { reason: "The source is read where it lies and written as raw compressed with gzip (zlib in 2 threads) in one pass, holes skipped, without a temporary file." },
  ],
  [
    "stages a qcow2 that is to be compressed as a whole",
    { source: live(), target: toImage({ format: "opaque", stream: { compression: "zstd", packed: "qcow2", engine: "zstd in 2 threads" } }) },
    "staged_convert",
    [["adopt", /compressed/], ["clone", /compressed/], ["clone_cached", /for volumes/], ["offload_copy", /compressed/], ["stream_convert", /a qcow2 disk cannot be compressed before it is complete/]],
  ],
  [
    "stages a VHD for a pool of devices, which makes no files that grow",
    { source: live(), target: toImage({ pool: slow, format: "vhd", can: { ...far, fills: ["raw", "qcow2"], why: { fills: "a device does not grow" } } }) },
    "staged_convert",
    [["adopt", /to be vhd/], ["clone", /to be vhd/], ["clone_cached", /for volumes/], ["offload_copy", /vhd/], ["stream_convert", /a vhd disk cannot be written in place: a device does not grow/]],
  ],
  [
    "streams a raw disk out of a compressed image, and keeps it in the cache",
    { source: image({ format: "opaque", packed: "raw" }), target: volume() },
    "stream_convert",
    [adoptKeeps, ["clone", /a raw disk in a compressed stream/], ["clone_cached", /no copy/], ["offload_copy", /compressed stream/]],
    { fillsCache: true },
  ],
  [
    "stages a qcow2 that comes out of a compressed image",
    { source: image({ format: "opaque", packed: "qcow2" }), target: volume({ cache: { closed: "its size is not known" } }) },
    "staged_convert",
    [adoptKeeps, ["clone", /a qcow2 disk in a compressed stream/], ["clone_cached", /its size/], ["offload_copy", /compressed/], ["stream_convert", /cannot be read out of a compressed stream/]],
    { fillsCache: false },
  ],
  ["clones a volume into an image where clones are independent", { source: live({ can: reflink }), target: toImage({ can: reflink }) }, "clone", [["adopt", /clones cost nothing/]]],
  [
    "converts a volume to qcow2",
    { source: live(), target: toImage({ format: "qcow2" }) },
    "stream_convert",
    [["adopt", /the image is to be qcow2/], ["clone", /the image is to be qcow2/], ["clone_cached", /for volumes/], ["offload_copy", /qcow2/]],
  ],
];

describe("planMaterialise()", () => {
  for (const [name, facts, strategy, passedOver, more = {}] of CASES) {
    it(name, () => {
      const plan = planMaterialise(facts);
      assert.equal(plan.strategy, strategy);
      assert.deepEqual(plan.passedOver.map((passed) => passed.strategy), passedOver.map(([passed]) => passed));
      for (const [index, [, because]] of passedOver.entries()) assert.match(plan.passedOver[index]?.because ?? "", because);
      for (const [key, value] of Object.entries(more)) assert.deepEqual(plan[key as keyof Plan], value, key);
    });
  }

  it("says why against every cheaper way, whatever the facts", () => {
    for (const can of [overlay, reflink, plain, remote]) {
      for (const format of ["raw", "qcow2", "vmdk"] as const) {
        const plan = planMaterialise({ source: image({ can, format }), target: volume({ can }) });
        assert.ok(plan.passedOver.every(({ because }) => because.length > 10), JSON.stringify(plan.passedOver));
        assert.ok(plan.reason.length > 10);
      }
    }
  });
});

it("planBlank() moves nothing", () => {
  const plan = planBlank({ pool: fast, virtualSizeBytes: GiB });
  assert.equal(plan.strategy, "blank");
  assert.deepEqual(plan.bytes, { read: 0, written: 0, throughUs: 0, temporary: 0 });
});
