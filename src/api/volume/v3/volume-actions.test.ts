import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { GiB, MiB } from "#/lib/units.ts";
import { MemoryDriver } from "#/storage/memory/driver.ts";
import { VOLUME_STATUSES, type VolumeStatus } from "#/domain/volume.ts";
import { type Call, TestWorld } from "./test-world.ts";

const act = (world: TestWorld, id: string, body: object, call: Call = {}) => world.ask("POST", `/volumes/${id}/action`, { ...call, body });

describe("the status and the actions", () => {
  const upload = { "os-volume_upload_image": { image_name: "i" } };
  const table: [name: string, request: (world: TestWorld, id: string) => Promise<{ statusCode: number }>, from: readonly VolumeStatus[]][] =
    [
      [
        "delete",
        (world, id) => world.ask("DELETE", `/volumes/${id}`),
        ["available", "error", "error_restoring", "error_extending", "error_managing"],
      ],
      ["extend before 3.42", (world, id) => act(world, id, { "os-extend": { new_size: 2 } }, { minor: 41 }), ["available"]],
      ["extend", (world, id) => act(world, id, { "os-extend": { new_size: 2 } }), ["available", "in-use"]],
      ["upload", (world, id) => act(world, id, upload), ["available"]],
      ["upload with force", (world, id) => act(world, id, { "os-volume_upload_image": { image_name: "i", force: true } }), ["available"]],
      ["retype", (world, id) => act(world, id, { "os-retype": { new_type: "gold" } }), ["available", "in-use"]],
      ["reserve", (world, id) => act(world, id, { "os-reserve": null }), ["available"]],
      ["unreserve", (world, id) => act(world, id, { "os-unreserve": null }), VOLUME_STATUSES],
      ["set readonly", (world, id) => act(world, id, { "os-update_readonly_flag": { readonly: true } }), ["available"]],
      ["set bootable", (world, id) => act(world, id, { "os-set_bootable": { bootable: true } }), VOLUME_STATUSES],
      [
        "rename",
        (world, id) => world.ask("PUT", `/volumes/${id}`, { body: { volume: { name: "n" } } }),
        VOLUME_STATUSES.filter((s) => s !== "maintenance"),
      ],
      [
        "set metadata",
        (world, id) => world.ask("PUT", `/volumes/${id}/metadata`, { body: { metadata: {} } }),
        VOLUME_STATUSES.filter((s) => s !== "maintenance"),
      ],
      [
        "snapshot before 3.66",
        (world, id) => world.ask("POST", "/snapshots", { minor: 65, body: { snapshot: { volume_id: id } } }),
        ["available"],
      ],
      [
        "snapshot with force before 3.66",
        (world, id) => world.ask("POST", "/snapshots", { minor: 65, body: { snapshot: { volume_id: id, force: true } } }),
        ["available", "in-use"],
      ],
      ["snapshot", (world, id) => world.ask("POST", "/snapshots", { body: { snapshot: { volume_id: id } } }), ["available", "in-use"]],
      ["clone", (world, id) => world.ask("POST", "/volumes", { body: { volume: { source_volid: id } } }), ["available", "in-use"]],
    ];
  for (const [name, request, from] of table) {
    it(`${name}: allowed in ${from.length === VOLUME_STATUSES.length ? "every status" : from.join(", ")}`, async () => {
      await using world = await TestWorld.open({ quotas: { volumes: -1, snapshots: -1, gigabytes: -1, perVolumeGigabytes: -1 } });
      await world.expect(200, "POST", "/types", { as: world.admin, body: { volume_type: { name: "gold" } } });
      for (const status of VOLUME_STATUSES) {
        const id = await world.makeVolume();
        await world.setStatus(id, status);
        const { statusCode } = await request(world, id);
        const allowed = statusCode < 300;
        assert.equal(allowed, from.includes(status), `${name} in ${status}: ${statusCode}`);
        if (!allowed) assert.equal(statusCode, 400);
        await world.settle();
      }
    });
  }
});

describe("os-extend", () => {
  it("grows the volume and takes the quota", async () => {
    await using world = await TestWorld.open();
    const id = await world.makeVolume();
    assert.equal((await act(world, id, { "os-extend": { new_size: 3 } })).statusCode, 202);
    await world.settle();
    const { volume } = await world.expect(200, "GET", `/volumes/${id}`);
    assert.deepEqual([volume.size, volume.status], [3, "available"]);
    const { limits } = await world.expect(200, "GET", "/limits");
    assert.equal(limits.absolute.totalGigabytesUsed, 3);
    await world.assertAuditClean();
  });

  it("refuses sizes that are not larger, and what is beyond the quota; the volume stays as it is", async () => {
    await using world = await TestWorld.open();
    const id = await world.makeVolume({ size: 2 });
    for (const [new_size, status, message] of [
      [2, 400, /^Invalid input received: New size for extend must be greater than current size\. \(current: 2, extended: 2\)\.$/],
      [1, 400, /must be greater/],
      [0, 400, /new_size/],
      ["x", 400, /new_size/],
      [1001, 413, /Requested 999G, quota is 1000G and 2G has been consumed/],
    ] as const) {
      assert.match(await world.refusal(status, "POST", `/volumes/${id}/action`, { body: { "os-extend": { new_size } } }), message);
    }
    const { volume } = await world.expect(200, "GET", `/volumes/${id}`);
    assert.deepEqual([volume.size, volume.status], [2, "available"]);
    await world.assertAuditClean();
  });

  it("refuses what the pool may not promise, as create does", async () => {
    await using world = await TestWorld.open({ quotas: { volumes: -1, snapshots: -1, gigabytes: -1, perVolumeGigabytes: -1 } });
    const id = await world.makeVolume();
    const refusal = await world.refusal(507, "POST", `/volumes/${id}/action`, { body: { "os-extend": { new_size: 2001 } } });
    assert.match(refusal, /^There is no room for 1\.95 TiB more: pool "local" would have promised 1\.95 TiB, and may promise 20 times its 100 GiB\.$/);
    assert.equal((await act(world, id, { "os-extend": { new_size: 1999 } })).statusCode, 202);
    await world.settle();
    const { volume } = await world.expect(200, "GET", `/volumes/${id}`);
    assert.deepEqual([volume.size, volume.status], [1999, "available"]);
    await world.assertAuditClean();
  });

  it("is refused, in words, for an attached volume where disks that are open cannot grow, and leaves it as it was", async () => {
    const memory = new MemoryDriver({ capacityBytes: 100 * GiB });
    const can = { ...memory.can, growsInUse: false, why: { ...memory.can.why, growsInUse: "it is on another host" } };
    await using world = await TestWorld.open({}, { base: Object.defineProperty(memory, "can", { value: can }) });
    const id = await world.makeVolume();
    await world.setStatus(id, "in-use");
    const refusal = await world.refusal(400, "POST", `/volumes/${id}/action`, { body: { "os-extend": { new_size: 2 } } });
    assert.match(refusal, /is attached, and in pool "local" such volumes cannot be extended: it is on another host\. Detach it first\.$/);
    assert.equal(await world.status(id), "in-use");
    await world.setStatus(id, "available");
    assert.equal((await act(world, id, { "os-extend": { new_size: 2 } })).statusCode, 202);
    await world.assertAuditClean();
  });

  it("lets one of two win", async () => {
    await using world = await TestWorld.open();
    const id = await world.makeVolume();
    const answers = await Promise.all([act(world, id, { "os-extend": { new_size: 2 } }), act(world, id, { "os-extend": { new_size: 2 } })]);
    assert.deepEqual(
      answers.map(({ statusCode }) => statusCode).toSorted((a, b) => a - b),
      [202, 400],
    );
    await world.assertAuditClean();
  });
});

describe("os-volume_upload_image", () => {
  it("makes an image that inherits the image metadata, and gives the volume back", async () => {
    await using world = await TestWorld.open();
    const id = await world.makeVolume({
      imageRef: await world.makeImage({ properties: { os_distro: "cirros", os_glance_x: "y", img_signature: "z" } }),
    });
    const body = {
      "os-volume_upload_image": { image_name: "copy", disk_format: "raw", container_format: "bare", visibility: "shared", protected: true },
    };
    const answer = await world.expect(202, "POST", `/volumes/${id}/action`, { body });
    const started = answer["os-volume_upload_image"];
    assert.equal(started.status, "uploading");
    assert.equal(started.id, id);
    assert.deepEqual([started.image_name, started.disk_format, started.container_format], ["copy", "raw", "bare"]);
    assert.deepEqual([started.visibility, started.protected, started.size, started.volume_type.name], ["shared", true, 1, "__DEFAULT__"]);
    await world.settle();
    assert.equal(await world.status(id), "available");
    const { db } = world.context;
    const image = await db.selectFrom("image").selectAll().where("id", "=", started.image_id).executeTakeFirstOrThrow();
    assert.deepEqual([image.status, image.name, image.owner, image.protected], ["active", "copy", world.alice.projectId, 1]);
    const properties = await db.selectFrom("image_property").select(["name", "value"]).where("image_id", "=", image.id).execute();
    assert.deepEqual(
      properties.map((row) => ({ ...row })),
      [{ name: "os_distro", value: "cirros" }],
    );
    await world.assertAuditClean();
  });

  it("has no visibility before 3.1", async () => {
    await using world = await TestWorld.open();
    const id = await world.makeVolume();
    const path = `/volumes/${id}/action`;
    await world.refusal(400, "POST", path, { minor: 0, body: { "os-volume_upload_image": { image_name: "i", visibility: "shared" } } });
    const answer = await world.expect(202, "POST", path, { minor: 0, body: { "os-volume_upload_image": { image_name: "i" } } });
    assert.equal("visibility" in answer["os-volume_upload_image"], false);
  });

  for (const [name, fields, status, message] of [
    ["no name", {}, 400, /must have: image_name/],
    ["an empty name", { image_name: "" }, 400, /image_name/],
    ["a compressed container", { image_name: "i", container_format: "compressed" }, 400, /^Image compression upload disallowed/],
    ["another container", { image_name: "i", container_format: "ova" }, 400, /container of format ova/],
    ["ploop", { image_name: "i", disk_format: "ploop" }, 400, /ploop/],
    ["an unknown format", { image_name: "i", disk_format: "iso" }, 400, /must be one of: raw, vmdk/],
    ["a public image by a member", { image_name: "i", visibility: "public" }, 403, /public/],
    ["an unknown key", { image_name: "i", colour: "red" }, 400, /unknown properties: colour/],
  ] as const) {
    it(`refuses ${name}, and leaves no image`, async () => {
      await using world = await TestWorld.open();
      const id = await world.makeVolume();
      assert.match(await world.refusal(status, "POST", `/volumes/${id}/action`, { body: { "os-volume_upload_image": fields } }), message);
      assert.equal(await world.status(id), "available");
      assert.deepEqual(await world.context.db.selectFrom("image").selectAll().execute(), []);
    });
  }

  for (const diskFormat of ["raw", "qcow2"] as const) {
    it(`makes a compressed ${diskFormat} image where the operator allows it, and a volume of that again`, async () => {
      const volumeUploads = { compressClusters: true, clusterCompression: "zstd", vmdkSubformat: "monolithicSparse", allowCompressed: true, compression: "gzip" } as const;
      await using world = await TestWorld.open({ volumeUploads });
      const id = await world.makeVolume({ imageRef: await world.makeImage() });
      const body = { "os-volume_upload_image": { image_name: "small", disk_format: diskFormat, container_format: "compressed" } };
      const { "os-volume_upload_image": started } = await world.expect(202, "POST", `/volumes/${id}/action`, { body });
      assert.deepEqual([started.disk_format, started.container_format], [diskFormat, "compressed"]);
      await world.settle();
      const { db } = world.context;
      const image = await db.selectFrom("image").selectAll().where("id", "=", started.image_id).executeTakeFirstOrThrow();
      assert.deepEqual([image.status, image.disk_format, image.container_format, image.virtual_size_bytes], ["active", diskFormat, "compressed", GiB]);
      assert.ok((image.size_bytes ?? 0) < 32 * MiB, `${image.size_bytes} bytes`);
      const { plan, actual } = await db.selectFrom("operation").select(["plan", "actual"]).where("saga", "=", "upload-volume").executeTakeFirstOrThrow();
      assert.match(plan ?? "", /compress(ed)? .*with gzip \(zlib in /i);
      assert.match(JSON.parse(actual ?? "{}").engine, /^zlib in /);
      const again = await world.makeVolume({ imageRef: started.image_id });
      assert.equal(await world.status(again), "available");
      await world.assertAuditClean();
    });
  }

  it("takes a volume in use with force only where the operator allows it", async () => {
    for (const enableForceUpload of [false, true]) {
      await using world = await TestWorld.open({ enableForceUpload });
      const id = await world.makeVolume();
      await world.setStatus(id, "in-use");
      const { statusCode } = await act(world, id, { "os-volume_upload_image": { image_name: "i", force: true } });
      assert.equal(statusCode, enableForceUpload ? 202 : 400);
      await world.settle();
      // The status alone was set here, and no server has the volume: after an upload it says so.
      assert.equal(await world.status(id), enableForceUpload ? "available" : "in-use");
    }
  });
});

describe("flags, image metadata, and resets", () => {
  it("sets and shows them", async () => {
    await using world = await TestWorld.open();
    const id = await world.makeVolume();
    assert.equal((await act(world, id, { "os-set_bootable": { bootable: "True" } })).statusCode, 200);
    assert.equal((await world.expect(200, "GET", `/volumes/${id}`)).volume.bootable, "true");
    assert.equal((await act(world, id, { "os-update_readonly_flag": { readonly: true } })).statusCode, 202);
    assert.deepEqual((await world.expect(200, "GET", `/volumes/${id}`)).volume.metadata, { readonly: "True" });
    const set = await act(world, id, { "os-set_image_metadata": { metadata: { os_distro: "debian" } } });
    assert.deepEqual([set.statusCode, set.json()], [200, { metadata: { os_distro: "debian" } }]);
    const shown = await act(world, id, { "os-show_image_metadata": null });
    assert.deepEqual(shown.json(), { metadata: { os_distro: "debian" } });
    assert.equal((await act(world, id, { "os-unset_image_metadata": { key: "os_distro" } })).statusCode, 200);
    assert.equal((await act(world, id, { "os-unset_image_metadata": { key: "os_distro" } })).statusCode, 404);
    assert.equal("volume_image_metadata" in (await world.expect(200, "GET", `/volumes/${id}`)).volume, false);
  });

  it("refuses what is no action, or more than one", async () => {
    await using world = await TestWorld.open();
    const id = await world.makeVolume();
    const path = `/volumes/${id}/action`;
    assert.match(await world.refusal(400, "POST", path, { body: { "os-fly": {} } }), /^There is no such action: os-fly$/);
    assert.match(await world.refusal(400, "POST", path, { body: { constructor: {} } }), /no such action/);
    for (const body of [{}, [], { "os-reserve": null, "os-unreserve": null }])
      assert.match(await world.refusal(400, "POST", path, { body }), /one key/);
    await world.refusal(400, "POST", path);
  });

  it("lets only admins reset statuses and delete by force", async () => {
    await using world = await TestWorld.open();
    const id = await world.makeVolume();
    const path = `/volumes/${id}/action`;
    for (const body of [{ "os-reset_status": { status: "error" } }, { "os-force_delete": null }])
      await world.refusal(403, "POST", path, { body });
    await world.refusal(400, "POST", path, { as: world.admin, body: { "os-reset_status": { status: "flying" } } });
    await world.refusal(400, "POST", path, { as: world.admin, body: { "os-reset_status": {} } });
    await world.expect(202, "POST", path, { as: world.admin, body: { "os-force_delete": {} } });
    await world.assertAuditClean();
  });
});

describe("os-retype", () => {
  it("gives a volume another type that its pool fits, and the quota of both follows", async () => {
    await using world = await TestWorld.open();
    const as = world.admin;
    await world.expect(200, "POST", "/types", {
      as,
      body: { volume_type: { name: "gold", extra_specs: { volume_backend_name: "local" } } },
    });
    const id = await world.makeVolume({ size: 2 });
    await world.makeSnapshot(id);
    assert.equal((await act(world, id, { "os-retype": { new_type: "gold", migration_policy: "never" } })).statusCode, 202);
    assert.equal((await world.expect(200, "GET", `/volumes/${id}`)).volume.volume_type, "gold");
    const { quota_set: quotas } = await world.expect(200, "GET", `/os-quota-sets/${world.alice.projectId}?usage=true`);
    const used = (name: string) => quotas[name].in_use;
    assert.deepEqual([used("volumes"), used("volumes_gold"), used("volumes___DEFAULT__")], [1, 1, 0]);
    assert.deepEqual([used("gigabytes"), used("gigabytes_gold"), used("gigabytes___DEFAULT__")], [4, 4, 0]);
    assert.deepEqual([used("snapshots_gold"), used("snapshots___DEFAULT__")], [1, 0]);
    await world.assertAuditClean();
    await world.expect(202, "DELETE", `/volumes/${id}?cascade=true`);
    await world.assertAuditClean();
  });

  it("refuses a type that it has, that is not there, that another pool would need, or that the quota does not allow", async () => {
    await using world = await TestWorld.open();
    const as = world.admin;
    await world.expect(200, "POST", "/types", {
      as,
      body: { volume_type: { name: "moon", extra_specs: { volume_backend_name: "moon" } } },
    });
    const thick = { "capabilities:thick_provisioning_support": "<is> True" };
    await world.expect(200, "POST", "/types", { as, body: { volume_type: { name: "thick", extra_specs: thick } } });
    await world.expect(200, "POST", "/types", { as, body: { volume_type: { name: "gold" } } });
    await world.expect(200, "PUT", `/os-quota-sets/${world.alice.projectId}`, { as, body: { quota_set: { volumes_gold: 0 } } });
    const id = await world.makeVolume();
    for (const [new_type, status, message] of [
      ["__DEFAULT__", 400, /has the type __DEFAULT__ already/],
      ["none", 404, /^Volume type none could not be found\.$/],
      ["moon", 400, /another pool/],
      ["thick", 400, /another pool: its thick_provisioning_support is False, and the type wants <is> True/],
      ["gold", 413, /exceeded for quota 'volumes_gold'/],
    ] as const) {
      assert.match(await world.refusal(status, "POST", `/volumes/${id}/action`, { body: { "os-retype": { new_type } } }), message);
    }
    assert.equal((await world.expect(200, "GET", `/volumes/${id}`)).volume.volume_type, "__DEFAULT__");
    await world.assertAuditClean();
  });
});
