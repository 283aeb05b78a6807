import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { TestWorld } from "./test-world.ts";

describe("who may do what", () => {
  it("keeps the volumes and snapshots of a project from others, as if they were not there", async () => {
    await using world = await TestWorld.open();
    const id = await world.makeVolume({ metadata: { a: "1" } });
    const snapshot = await world.makeSnapshot(id);
    const bob = await world.server.login("bob", "elsewhere");
    const volume = `/volumes/${id}`;
    for (const [method, path, body] of [
      ["GET", volume],
      ["PUT", volume, { volume: { name: "n" } }],
      ["DELETE", volume],
      ["GET", `${volume}/metadata`],
      ["POST", `${volume}/metadata`, { metadata: {} }],
      ["PUT", `${volume}/metadata`, { metadata: {} }],
      ["GET", `${volume}/metadata/a`],
      ["PUT", `${volume}/metadata/a`, { meta: { a: "2" } }],
      ["DELETE", `${volume}/metadata/a`],
      ["POST", `${volume}/action`, { "os-extend": { new_size: 2 } }],
      ["POST", `${volume}/action`, { "os-reserve": null }],
      ["POST", `${volume}/action`, { "os-unreserve": null }],
      ["POST", `${volume}/action`, { "os-set_bootable": { bootable: true } }],
      ["POST", `${volume}/action`, { "os-update_readonly_flag": { readonly: true } }],
      ["POST", `${volume}/action`, { "os-show_image_metadata": null }],
      ["POST", `${volume}/action`, { "os-set_image_metadata": { metadata: {} } }],
      ["POST", `${volume}/action`, { "os-volume_upload_image": { image_name: "i" } }],
      ["POST", "/volumes", { volume: { source_volid: id } }],
      ["POST", "/snapshots", { snapshot: { volume_id: id } }],
      ["POST", "/volumes", { volume: { snapshot_id: snapshot } }],
      ["GET", `/snapshots/${snapshot}`],
      ["PUT", `/snapshots/${snapshot}`, { snapshot: { name: "n" } }],
      ["DELETE", `/snapshots/${snapshot}`],
      ["GET", `/snapshots/${snapshot}/metadata`],
      ["POST", `/snapshots/${snapshot}/metadata`, { metadata: {} }],
    ] as const) {
      const message = await world.refusal(404, method, path, { as: bob, ...(body && { body }) });
      assert.match(message, /^(Volume|Snapshot) [0-9a-f-]{36} could not be found\.$/, `${method} ${path}`);
    }
  });

  it("lets readers read, and change nothing", async () => {
    await using world = await TestWorld.open();
    const id = await world.makeVolume();
    const snapshot = await world.makeSnapshot(id);
    const rita = await world.server.login("rita", "wonderland", ["reader"]);
    for (const path of [
      "/volumes",
      "/volumes/detail",
      `/volumes/${id}`,
      `/volumes/${id}/metadata`,
      "/volumes/summary",
      "/snapshots",
      `/snapshots/${snapshot}`,
      "/types",
      "/types/default",
      "/limits",
      `/os-quota-sets/${rita.projectId}`,
      "/messages",
      "/os-availability-zone",
      "/extensions",
      "/resource_filters",
    ]) {
      await world.expect(200, "GET", path, { as: rita });
    }
    for (const [method, path, body] of [
      ["POST", "/volumes", { volume: { size: 1 } }],
      ["PUT", `/volumes/${id}`, { volume: { name: "n" } }],
      ["DELETE", `/volumes/${id}`],
      ["POST", `/volumes/${id}/metadata`, { metadata: {} }],
      ["POST", `/volumes/${id}/action`, { "os-extend": { new_size: 2 } }],
      ["POST", `/volumes/${id}/action`, { "os-volume_upload_image": { image_name: "i" } }],
      ["POST", "/snapshots", { snapshot: { volume_id: id } }],
      ["DELETE", `/snapshots/${snapshot}`],
      ["PUT", `/snapshots/${snapshot}`, { snapshot: { name: "n" } }],
    ] as const) {
      await world.refusal(403, method, path, { as: rita, ...(body && { body }) });
    }
  });

  it("keeps what is for admins from members", async () => {
    await using world = await TestWorld.open();
    const type = (await world.expect(200, "GET", "/types/default")).volume_type.id;
    for (const [method, path, body] of [
      ["POST", "/types", { volume_type: { name: "gold" } }],
      ["PUT", `/types/${type}`, { volume_type: { name: "gold" } }],
      ["DELETE", `/types/${type}`],
      ["POST", `/types/${type}/extra_specs`, { extra_specs: { a: "1" } }],
      ["DELETE", `/types/${type}/extra_specs/a`],
      ["GET", `/types/${type}/os-volume-type-access`],
      ["POST", `/types/${type}/action`, { addProjectAccess: { project: "p" } }],
      ["GET", "/os-services"],
      ["GET", "/scheduler-stats/get_pools"],
      ["GET", "/capabilities/mica@local"],
      ["GET", "/os-quota-sets/another"],
      ["PUT", `/os-quota-sets/${world.alice.projectId}`, { quota_set: { volumes: 100 } }],
      ["DELETE", `/os-quota-sets/${world.alice.projectId}`],
      ["GET", "/os-quota-class-sets/default"],
      ["PUT", "/os-quota-class-sets/default", { quota_class_set: { volumes: 100 } }],
    ] as const) {
      await world.refusal(403, method, path, body && { body });
    }
  });

  it("needs a token that is good, and the token's own project in the path", async () => {
    await using world = await TestWorld.open();
    const nobody = { ...world.alice, token: "wrong" };
    await world.refusal(401, "GET", "/volumes", { as: nobody });
    assert.equal((await world.server.request("GET", "/volume/v3/volumes")).statusCode, 401);
    await world.expect(200, "GET", `/${world.alice.projectId}/volumes`);
    await world.expect(200, "GET", `/${world.alice.projectId}/volumes/detail`);
    assert.match(await world.refusal(400, "GET", `/${world.admin.projectId}/volumes`), /^Malformed request URL/);
    await world.expect(200, "GET", `/${world.alice.projectId}/volumes`, { as: world.admin });
  });
});

describe("versions", () => {
  it("are told without a token", async () => {
    await using world = await TestWorld.open();
    const choices = await world.server.request("GET", "/volume/");
    assert.equal(choices.statusCode, 300);
    const one = await world.server.request("GET", "/volume/v3/");
    assert.equal(one.statusCode, 200);
    for (const answer of [choices, one]) {
      const { versions } = answer.json();
      assert.deepEqual(
        [versions[0].id, versions[0].min_version, versions[0].version, versions[0].status],
        ["v3.0", "3.0", "3.71", "CURRENT"],
      );
    }
  });

  for (const [header, status] of [
    ["volume 3.0", 200],
    ["volume 3.71", 200],
    ["volume latest", 200],
    ["compute 2.90", 200],
    ["volume 3.72", 406],
    ["volume 2.0", 406],
    ["volume 3", 400],
    ["volume three", 400],
  ] as const) {
    it(`answers ${status} to ${header}`, async () => {
      await using world = await TestWorld.open();
      const headers = { "openstack-api-version": header };
      const answer = await world.server.request("GET", "/volume/v3/volumes", { token: world.alice.token, headers });
      assert.equal(answer.statusCode, status, answer.body);
      if (status === 200) assert.match(String(answer.headers["openstack-api-version"]), /^volume 3\.\d+$/);
    });
  }

  it("do not have calls before their time", async () => {
    await using world = await TestWorld.open();
    for (const [path, since] of [
      ["/messages", 3],
      ["/volumes/summary", 12],
      ["/resource_filters", 33],
    ] as const) {
      await world.refusal(404, "GET", path, { minor: since - 1 });
      await world.expect(200, "GET", path, { minor: since });
    }
  });

  it("answer 404 to unknown paths and 405 to wrong methods", async () => {
    await using world = await TestWorld.open();
    await world.refusal(404, "GET", "/flowers");
    const answer = await world.ask("DELETE", "/volumes");
    assert.equal(answer.statusCode, 405);
    assert.ok(answer.json().badMethod);
  });
});
