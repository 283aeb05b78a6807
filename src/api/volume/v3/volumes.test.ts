import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { GiB } from "#/lib/units.ts";
import { TestWorld } from "./test-world.ts";

describe("POST /volumes", () => {
  it("makes a blank volume, which becomes available", async () => {
    await using world = await TestWorld.open();
    const body = { volume: { size: 2, name: "  data  ", description: "for data", metadata: { colour: "red" } } };
    const { volume } = await world.expect(202, "POST", "/volumes", { body });
    assert.equal(volume.status, "creating");
    assert.equal(volume.name, "data");
    assert.equal(volume.size, 2);
    assert.equal(volume.bootable, "false");
    assert.deepEqual(volume.metadata, { colour: "red" });
    assert.equal(volume.volume_type, "__DEFAULT__");
    assert.equal(volume.availability_zone, "nova");
    assert.match(volume.created_at, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}$/);
    await world.settle();
    assert.equal(await world.status(volume.id), "available");
    await world.assertAuditClean();
  });

  it("makes a bootable volume of an image, and keeps what is known of the image", async () => {
    await using world = await TestWorld.open();
    const imageRef = await world.makeImage();
    const id = await world.makeVolume({ imageRef });
    const { volume } = await world.expect(200, "GET", `/volumes/${id}`);
    assert.equal(volume.status, "available");
    assert.equal(volume.bootable, "true");
    assert.deepEqual(volume.volume_image_metadata, {
      image_id: imageRef,
      image_name: "cirros",
      checksum: "d41d8cd98f00b204e9800998ecf8427e",
      container_format: "bare",
      disk_format: "raw",
      min_disk: "0",
      min_ram: "0",
      size: "65536",
      os_distro: "cirros",
    });
    await world.assertAuditClean();
  });

  it("makes a volume of a snapshot and of a volume, as large and as bootable as these", async () => {
    await using world = await TestWorld.open();
    const source = await world.makeVolume({ imageRef: await world.makeImage(), size: 2 });
    const snapshot = await world.makeSnapshot(source);
    for (const from of [{ snapshot_id: snapshot }, { source_volid: source }]) {
      const id = await world.makeVolume({ ...from, size: undefined });
      const { volume } = await world.expect(200, "GET", `/volumes/${id}`);
      assert.deepEqual([volume.status, volume.size, volume.bootable], ["available", 2, "true"]);
      assert.deepEqual([volume.snapshot_id, volume.source_volid], [from.snapshot_id ?? null, from.source_volid ?? null]);
      assert.equal(volume.volume_image_metadata.os_distro, "cirros");
    }
    await world.assertAuditClean();
  });

  const uuid = "7d3f1f7c-26a8-4a8f-8f4e-3b3f8d0a8d11";
  const cases: [name: string, fields: object, status: number, message: RegExp][] = [
    ["no size", {}, 400, /Invalid volume size provided for create request: None/],
    ["a size of 0", { size: 0 }, 400, /volume\.size must be >= 1/],
    ["a negative size", { size: -1 }, 400, /volume\.size/],
    ["a fraction of a GiB", { size: 1.5 }, 400, /volume\.size must be integer/],
    ["a size that is no number", { size: "large" }, 400, /volume\.size/],
    ["an unknown zone", { size: 1, availability_zone: "mars" }, 400, /^Availability zone 'mars' is invalid\.$/],
    ["an unknown type", { size: 1, volume_type: "gold" }, 404, /^Volume type gold could not be found\.$/],
    ["an unknown image", { size: 1, imageRef: uuid }, 404, new RegExp(`^Image ${uuid} could not be found\\.$`)],
    ["an unknown snapshot", { size: 1, snapshot_id: uuid }, 404, new RegExp(`^Snapshot ${uuid} could not be found\\.$`)],
    ["an unknown volume", { size: 1, source_volid: uuid }, 404, new RegExp(`^Volume ${uuid} could not be found\\.$`)],
    ["a group", { size: 1, group_id: uuid }, 404, /^Group/],
    ["a backup", { backup_id: uuid }, 404, /^Backup/],
    ["multiattach", { size: 1, multiattach: true }, 400, /multiattach parameter has been removed/],
    ["two sources", { size: 1, imageRef: uuid, source_volid: uuid }, 400, /May specify only one/],
    ["metadata that is no text", { size: 1, metadata: { a: 1 } }, 400, /metadata/],
    ["a value of 256 letters", { size: 1, metadata: { a: "x".repeat(256) } }, 400, /metadata/],
    ["a name of 256 letters", { size: 1, name: "x".repeat(256) }, 400, /name/],
    ["an unknown key", { size: 1, colour: "red" }, 400, /unknown properties: colour/],
    [
      "more than one volume may have",
      { size: 65 * 1024 },
      413,
      /^Requested volume size 66560G is larger than maximum allowed limit 65536G\.$/,
    ],
    [
      "more than the quota",
      { size: 1001 },
      413,
      /^Requested volume or snapshot exceeds allowed gigabytes quota\. Requested 1001G, quota is 1000G and 0G has been consumed\.$/,
    ],
  ];
  it("refuses what is wrong, and keeps nothing of it", async (t) => {
    await using world = await TestWorld.open();
    for (const [name, fields, status, message] of cases) {
      await t.test(name, async () => {
        assert.match(await world.refusal(status, "POST", "/volumes", { body: { volume: fields } }), message);
      });
    }
    await t.test("no body", async () => assert.match(await world.refusal(400, "POST", "/volumes"), /must be object/));
    await t.test("half a body", async () => assert.match(await world.refusal(400, "POST", "/volumes", { body: '{"volume":' }), /JSON/));
    const { volumes } = await world.expect(200, "GET", "/volumes");
    assert.deepEqual(volumes, []);
    await world.assertAuditClean();
  });

  it("ignores unknown keys before 3.53, and newer fields before their microversion", async () => {
    await using world = await TestWorld.open();
    await world.expect(202, "POST", "/volumes", { minor: 52, body: { volume: { size: 1, colour: "red" } } });
    await world.expect(202, "POST", "/volumes", { minor: 46, body: { volume: { size: 1, backup_id: 7 } } });
    await world.expect(202, "POST", "/volumes", { minor: 12, body: { volume: { size: 1, group_id: 7 } } });
    await world.refusal(400, "POST", "/volumes", { minor: 13, body: { volume: { size: 1, group_id: 7 } } });
  });

  it("takes what clients send for nothing: null and empty texts, and sizes as digits", async () => {
    await using world = await TestWorld.open();
    const nothing = {
      volume_type: "",
      availability_zone: null,
      imageRef: null,
      snapshot_id: null,
      source_volid: null,
      metadata: null,
      name: null,
    };
    const { volume } = await world.expect(202, "POST", "/volumes", {
      body: { volume: { ...nothing, size: "1", consistencygroup_id: null } },
    });
    assert.equal(volume.size, 1);
    assert.equal(volume.name, null);
  });
});

describe("POST /volumes of an image", () => {
  const cases: [name: string, image: object, status: number, message: RegExp][] = [
    ["that is larger than the volume", { sizeBytes: 2 * GiB }, 400, /Size of specified image 2GB is larger than volume size 1GB\.$/],
    ["that needs a larger disk", { minDiskGib: 3 }, 400, /Volume size 1GB cannot be smaller than the image minDisk size 3GB\.$/],
    [
      "whose virtual size is larger",
      { virtualSizeBytes: GiB + 1 },
      400,
      /is unacceptable: Image virtual size is 2GB and doesn't fit in a volume of size 1GB\.$/,
    ],
    ["that is not active", { status: "queued" }, 400, /^Invalid input received: Image .* is not active\.$/],
    ["that is deactivated", { status: "deactivated" }, 400, /is not active\.$/],
    ["of another project", { owner: "somebody" }, 404, /^Image .* could not be found\.$/],
  ];
  for (const [name, image, status, message] of cases) {
    it(`refuses one ${name}`, async () => {
      await using world = await TestWorld.open();
      const imageRef = await world.makeImage(image);
      assert.match(await world.refusal(status, "POST", "/volumes", { body: { volume: { size: 1, imageRef } } }), message);
    });
  }
});

describe("POST /volumes of a snapshot or volume", () => {
  it("refuses a smaller size", async () => {
    await using world = await TestWorld.open();
    const source = await world.makeVolume({ size: 2 });
    const snapshot = await world.makeSnapshot(source);
    const fromSnapshot = await world.refusal(400, "POST", "/volumes", { body: { volume: { size: 1, snapshot_id: snapshot } } });
    assert.match(fromSnapshot, /Volume size '1'GB cannot be smaller than the snapshot size 2GB/);
    const fromVolume = await world.refusal(400, "POST", "/volumes", { body: { volume: { size: 1, source_volid: source } } });
    assert.match(fromVolume, /Volume size '1'GB cannot be smaller than original volume size 2GB/);
  });

  it("refuses sources that are not ready", async () => {
    await using world = await TestWorld.open();
    const source = await world.makeVolume();
    const snapshot = await world.makeSnapshot(source);
    await world.expect(202, "POST", `/snapshots/${snapshot}/action`, { as: world.admin, body: { "os-reset_status": { status: "error" } } });
    assert.match(
      await world.refusal(400, "POST", "/volumes", { body: { volume: { snapshot_id: snapshot } } }),
      /^Invalid snapshot: Originating snapshot/,
    );
    await world.setStatus(source, "error");
    assert.match(
      await world.refusal(400, "POST", "/volumes", { body: { volume: { source_volid: source } } }),
      /^Invalid volume: Unable to create a volume/,
    );
  });
});

describe("PUT /volumes/{id}", () => {
  it("renames, describes, and replaces the metadata", async () => {
    await using world = await TestWorld.open();
    const id = await world.makeVolume({ name: "old", metadata: { a: "1" } });
    const body = { volume: { name: "new", description: "d", metadata: { b: "2" } } };
    const { volume } = await world.expect(200, "PUT", `/volumes/${id}`, { body });
    assert.deepEqual([volume.name, volume.description, volume.metadata], ["new", "d", { b: "2" }]);
    const kept = await world.expect(200, "PUT", `/volumes/${id}`, { body: { volume: { name: "newer" } } });
    assert.deepEqual([kept.volume.description, kept.volume.metadata], ["d", { b: "2" }]);
    await world.refusal(400, "PUT", `/volumes/${id}`, { body: { volume: {} } });
    await world.refusal(400, "PUT", `/volumes/${id}`, { body: { volume: { status: "error" } } });
    await world.setStatus(id, "maintenance");
    await world.refusal(400, "PUT", `/volumes/${id}`, { body });
  });
});

describe("DELETE /volumes/{id}", () => {
  it("deletes the volume and gives its quota back", async () => {
    await using world = await TestWorld.open();
    const id = await world.makeVolume();
    await world.expect(202, "DELETE", `/volumes/${id}`);
    await world.settle();
    await world.refusal(404, "GET", `/volumes/${id}`);
    const { limits } = await world.expect(200, "GET", "/limits");
    assert.deepEqual([limits.absolute.totalVolumesUsed, limits.absolute.totalGigabytesUsed], [0, 0]);
    await world.assertAuditClean();
  });

  it("lets one of two win", async () => {
    await using world = await TestWorld.open();
    const id = await world.makeVolume();
    const answers = await Promise.all([world.ask("DELETE", `/volumes/${id}`), world.ask("DELETE", `/volumes/${id}`)]);
    const statuses = answers.map(({ statusCode }) => statusCode).toSorted((a, b) => a - b);
    assert.equal(statuses[0], 202);
    assert.ok(statuses[1] === 400 || statuses[1] === 404, String(statuses));
    await world.assertAuditClean();
  });

  it("refuses a volume with snapshots, unless they go along", async () => {
    await using world = await TestWorld.open();
    const id = await world.makeVolume();
    const snapshot = await world.makeSnapshot(id);
    assert.match(
      await world.refusal(400, "DELETE", `/volumes/${id}`),
      /^Invalid volume: Volume status must be available or error .* have snapshots/,
    );
    assert.equal(await world.status(id), "available");
    await world.expect(202, "DELETE", `/volumes/${id}?cascade=true`);
    await world.settle();
    await world.refusal(404, "GET", `/snapshots/${snapshot}`);
    await world.refusal(404, "GET", `/volumes/${id}`);
    await world.assertAuditClean();
  });

  it("does not look at the status with force, which is for admins and from 3.23 on", async () => {
    await using world = await TestWorld.open();
    const id = await world.makeVolume();
    await world.setStatus(id, "attaching");
    await world.refusal(403, "DELETE", `/volumes/${id}?force=true`);
    await world.refusal(400, "DELETE", `/volumes/${id}?force=true`, { as: world.admin, minor: 22 });
    await world.expect(202, "DELETE", `/volumes/${id}?force=true`, { as: world.admin });
    await world.settle();
    await world.refusal(404, "GET", `/volumes/${id}`);
    await world.assertAuditClean();
  });
});

describe("DELETE of a volume that others work with", () => {
  for (const statuses of [{ attach_status: "attached" }, { migration_status: "migrating" }]) {
    it(`refuses one with ${JSON.stringify(statuses)}, also by force`, async () => {
      await using world = await TestWorld.open();
      const as = world.admin;
      const id = await world.makeVolume();
      await world.expect(202, "POST", `/volumes/${id}/action`, { as, body: { "os-reset_status": statuses } });
      for (const path of [`/volumes/${id}`, `/volumes/${id}?force=true`]) {
        assert.match(await world.refusal(400, "DELETE", path, { as }), /must not be migrating, attached/);
      }
      assert.equal(await world.status(id), "available");
    });
  }
});

describe("GET /volumes/summary", () => {
  it("adds up the project's volumes, from 3.12 on; with metadata from 3.36 on", async () => {
    await using world = await TestWorld.open();
    await world.makeVolume({ size: 1, metadata: { a: "1" } });
    await world.makeVolume({ size: 3, metadata: { a: "2", b: "1" } });
    await world.refusal(404, "GET", "/volumes/summary", { minor: 11 });
    const old = await world.expect(200, "GET", "/volumes/summary", { minor: 35 });
    assert.deepEqual(old, { "volume-summary": { total_count: 2, total_size: 4 } });
    const { "volume-summary": summary } = await world.expect(200, "GET", "/volumes/summary");
    assert.deepEqual(summary.metadata, { a: ["1", "2"], b: ["1"] });
    const others = await world.expect(200, "GET", "/volumes/summary", { as: world.admin });
    assert.equal(others["volume-summary"].total_count, 0);
    const all = await world.expect(200, "GET", "/volumes/summary?all_tenants=1", { as: world.admin });
    assert.equal(all["volume-summary"].total_count, 2);
  });
});
