import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { AppError } from "#/domain/errors.ts";
import { diskId } from "#/domain/ids.ts";
import { storedDisks } from "#/storage/rbd/listing.ts";
import { isSnapshot, locationOf, parseLocation, parseName, type RbdPlace } from "#/storage/rbd/names.ts";

const A = diskId("11111111-1111-4111-8111-111111111111");
const B = diskId("22222222-2222-4222-8222-222222222222");
const PLACE: RbdPlace = { fsid: "5f76a6c8-248c-4880-a245-91e9bd4c8b0f", pool: "images", namespace: undefined };

describe("locations in Ceph", () => {
  it("are written as Glance writes them, and read back", () => {
    const location = locationOf(PLACE, A);
    assert.equal(location, `rbd://${PLACE.fsid}/images/${A}/snap`);
    assert.deepEqual(parseLocation(location, PLACE.fsid), { pool: "images", namespace: undefined, image: A, snapshot: "snap" });
  });

  it("keep a namespace in the part of the pool", () => {
    const location = locationOf({ ...PLACE, namespace: "mica" }, A);
    assert.equal(location.split("/").length, 6);
    assert.deepEqual(parseLocation(location, PLACE.fsid), { pool: "images", namespace: "mica", image: A, snapshot: "snap" });
  });

  it("may name an image without a snapshot, with any characters", () => {
    const parsed = parseLocation(`rbd://${PLACE.fsid}/a%20pool/image%2Fwith%2Fslashes`, PLACE.fsid);
    assert.deepEqual(parsed, { pool: "a pool", namespace: undefined, image: "image/with/slashes" });
    assert.ok(!isSnapshot(parsed));
  });

  for (const location of [`rbd://other/images/${A}/snap`, "rbd://", `rbd://${PLACE.fsid}/images`, "file:///etc/passwd", `rbd://${PLACE.fsid}/a/b/c/d`]) {
    it(`are refused where they are not in the cluster: ${location}`, () => {
      assert.throws(() => parseLocation(location, PLACE.fsid), (error) => error instanceof AppError && error.code === "not_supported");
    });
  }
});

describe("names in a Ceph pool", () => {
  it("say whose an image is", () => {
    assert.deepEqual(parseName(A), { id: A, isPartial: false });
    assert.deepEqual(parseName(`${A}.partial`), { id: A, isPartial: true });
    for (const name of ["snap", `volume-${A}`, `${A}.deleted`, "", undefined]) assert.equal(parseName(name), undefined);
  });

  it("make a list of disks, each once, in which unfinished work counts only alone", () => {
    const row = { snapshot: undefined, sizeBytes: 512, parent: undefined };
    const parent = { pool: "volumes", image: A, snapshot: "x" };
    const disks = storedDisks(
      [
        { ...row, image: `${A}.partial` },
        { ...row, image: A },
        { ...row, image: A, snapshot: "snap" },
        { ...row, image: A, snapshot: B },
        { ...row, image: "volume-of-others", parent },
      ],
      new Map([[A, 100]]),
    );
    assert.deepEqual(disks, [
      { id: A, sizeBytes: 512, allocatedBytes: 100, parent: undefined },
      { id: B, sizeBytes: 512, allocatedBytes: 0, parent: undefined, partial: true },
    ]);
    assert.deepEqual(storedDisks([{ ...row, image: B, parent }], new Map()), [{ id: B, sizeBytes: 512, allocatedBytes: 0, parent: A }]);
  });
});
