import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { describe, it } from "node:test";
import { addMessage } from "#/db/messages.ts";
import { DAY_MS } from "#/lib/units.ts";
import { TestWorld } from "./test-world.ts";

describe("messages", () => {
  it("say why an operation failed, in Cinder's words, until their time is over", async () => {
    await using world = await TestWorld.open();
    const { db, clock } = world.context;
    const [id, resource] = [randomUUID(), randomUUID()];
    const message = {
      id,
      projectId: world.alice.projectId,
      requestId: "req-1",
      resource: { kind: "volume", id: resource },
      action: "COPY_IMAGE_TO_VOLUME",
      detail: "NOT_ENOUGH_SPACE_FOR_IMAGE",
      nowMs: clock.nowMs(),
    } as const;
    await addMessage(db, message);
    await addMessage(db, message); // As a step that is repeated after a crash does.
    const { messages } = await world.expect(200, "GET", "/messages");
    assert.equal(messages.length, 1);
    const [{ created_at, guaranteed_until, links, ...rest }] = messages;
    assert.deepEqual(rest, {
      id,
      event_id: "VOLUME_VOLUME_005_007",
      user_message: "copy image to volume:Image used for creating volume exceeds available space.",
      message_level: "ERROR",
      request_id: "req-1",
      resource_type: "VOLUME",
      resource_uuid: resource,
    });
    assert.ok(guaranteed_until > created_at && links.length === 2);
    assert.equal((await world.expect(200, "GET", `/messages/${id}`)).message.id, id);
    assert.equal((await world.expect(200, "GET", `/messages?resource_uuid=${resource}`)).messages.length, 1);
    assert.equal((await world.expect(200, "GET", "/messages?resource_type=VOLUME_SNAPSHOT")).messages.length, 0);

    const bob = await world.server.login("bob", "elsewhere");
    assert.deepEqual((await world.expect(200, "GET", "/messages", { as: bob })).messages, []);
    await world.refusal(404, "DELETE", `/messages/${id}`, { as: bob });
    await world.expect(204, "DELETE", `/messages/${id}`);
    await world.refusal(404, "GET", `/messages/${id}`);

    await addMessage(db, { ...message, nowMs: clock.nowMs() - 31 * DAY_MS });
    await world.refusal(404, "GET", `/messages/${id}`);
    await addMessage(db, { ...message, id: randomUUID() });
    assert.equal((await db.selectFrom("message").selectAll().execute()).length, 1);
  });

  it("are left by what fails after it was accepted: the record says so too, and the quota is given back with it", async () => {
    await using world = await TestWorld.open();
    const image = await world.makeImage();
    const good = await world.makeVolume();
    world.faults.broken = true;
    const { volume } = await world.expect(202, "POST", "/volumes", { body: { volume: { size: 1, imageRef: image } } });
    const { snapshot } = await world.expect(202, "POST", "/snapshots", { body: { snapshot: { volume_id: good } } });
    await world.settle();
    const upload = await world.expect(202, "POST", `/volumes/${good}/action`, {
      body: { "os-volume_upload_image": { image_name: "i", disk_format: "raw" } },
    });
    await world.settle();
    await world.expect(202, "POST", `/volumes/${good}/action`, { body: { "os-extend": { new_size: 2 } } });
    await world.settle();
    world.faults.broken = false;

    const { messages } = await world.expect(200, "GET", "/messages?sort=created_at:asc");
    assert.deepEqual(
      messages.map(({ event_id, resource_uuid }: Record<string, string>) => [event_id, resource_uuid]),
      [
        ["VOLUME_VOLUME_005_001", volume.id],
        ["VOLUME_VOLUME_SNAPSHOT_009_013", snapshot.id],
        ["VOLUME_VOLUME_003_004", good],
        ["VOLUME_VOLUME_007_010", good],
      ],
    );
    assert.equal(await world.status(volume.id), "error");
    assert.equal((await world.expect(200, "GET", `/snapshots/${snapshot.id}`)).snapshot.status, "error");
    assert.equal(await world.status(good), "error_extending");
    assert.deepEqual(
      await world.context.db.selectFrom("image").select("id").where("id", "=", upload["os-volume_upload_image"].image_id).execute(),
      [],
    );
    for (const path of [`/volumes/${volume.id}`, `/volumes/${good}?cascade=true`]) await world.expect(202, "DELETE", path);
    await world.settle();
    const { limits } = await world.expect(200, "GET", "/limits");
    assert.deepEqual([limits.absolute.totalVolumesUsed, limits.absolute.totalSnapshotsUsed, limits.absolute.totalGigabytesUsed], [0, 0, 0]);
    await world.assertAuditClean();
  });
});

describe("what operators look at", () => {
  it("has services, pools and capabilities", async () => {
    await using world = await TestWorld.open();
    await world.makeVolume({ size: 2 });
    const as = world.admin;
    const { services } = await world.expect(200, "GET", "/os-services", { as });
    assert.deepEqual(
      services.map(({ binary, host, zone, status, state }: Record<string, string>) => [binary, host, zone, status, state]),
      [
        ["cinder-scheduler", "mica", "nova", "enabled", "up"],
        ["cinder-volume", "mica@local", "nova", "enabled", "up"],
      ],
    );
    assert.equal((await world.expect(200, "GET", "/os-services?binary=cinder-volume", { as })).services.length, 1);
    assert.equal("cluster" in services[0], true);
    assert.equal("cluster" in (await world.expect(200, "GET", "/os-services", { as, minor: 6 })).services[0], false);

    assert.deepEqual(await world.expect(200, "GET", "/scheduler-stats/get_pools", { as }), { pools: [{ name: "mica@local#local" }] });
    const { pools } = await world.expect(200, "GET", "/scheduler-stats/get_pools?detail=True", { as });
    const { total_capacity_gb, provisioned_capacity_gb, volume_backend_name, storage_protocol } = pools[0].capabilities;
    assert.deepEqual([total_capacity_gb, provisioned_capacity_gb, volume_backend_name, storage_protocol], [100, 2, "local", "memory"]);
    const { total_volumes, thin_provisioning_support, clone, dedup, driver, backend_state, filter_function, goodness_function } = pools[0].capabilities;
    assert.deepEqual([total_volumes, thin_provisioning_support, clone, dedup, driver, backend_state], [1, true, "dependent", true, "memory", "up"]);
    assert.deepEqual([filter_function, goodness_function], [null, null]);
    assert.deepEqual(await world.expect(200, "GET", "/scheduler-stats/get_pools?name=other", { as }), { pools: [] });

    const capabilities = await world.expect(200, "GET", "/capabilities/mica@local", { as });
    assert.deepEqual([capabilities.pool_name, capabilities.properties.clone.default], ["local", true]);
    await world.refusal(404, "GET", "/capabilities/mica@moon", { as });
    await world.refusal(404, "GET", "/capabilities/moon", { as });
  });

  it("has the zone, the extensions and the filters", async () => {
    await using world = await TestWorld.open();
    const zones = await world.expect(200, "GET", "/os-availability-zone");
    assert.deepEqual(zones, { availabilityZoneInfo: [{ zoneName: "nova", zoneState: { available: true } }] });
    const { extensions } = await world.expect(200, "GET", "/extensions");
    const { extension } = await world.expect(200, "GET", "/extensions/os-volume-actions");
    assert.deepEqual(
      extensions.find(({ alias }: { alias: string }) => alias === "os-volume-actions"),
      extension,
    );
    await world.refusal(404, "GET", "/extensions/os-flowers");
    const { resource_filters } = await world.expect(200, "GET", "/resource_filters?resource=snapshot");
    assert.deepEqual(
      resource_filters.map(({ resource }: { resource: string }) => resource),
      ["snapshot"],
    );
    for (const { resource, filters } of (await world.expect(200, "GET", "/resource_filters")).resource_filters) {
      assert.ok(filters.length > 0, resource);
    }
  });

  it("lists by each filter that it names", async () => {
    await using world = await TestWorld.open();
    const paths: Record<string, string> = {
      volume: "/volumes",
      snapshot: "/snapshots",
      message: "/messages",
      pool: "/scheduler-stats/get_pools",
      volume_type: "/types",
    };
    const values: Record<string, string> = {
      metadata: "{}",
      glance_metadata: "{}",
      extra_specs: "{}",
      bootable: "true",
      size: "1",
      created_at: "2026-01-01",
      updated_at: "2026-01-01",
      consumes_quota: "true",
      is_public: "true",
    };
    for (const { resource, filters } of (await world.expect(200, "GET", "/resource_filters")).resource_filters) {
      for (const filter of filters) {
        await world.expect(200, "GET", `${paths[resource]}?${filter}=${encodeURIComponent(values[filter] ?? "x")}`, { as: world.admin });
      }
    }
  });
});
