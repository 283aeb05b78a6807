import assert from "node:assert/strict";
import { hostname } from "node:os";
import { describe, it } from "node:test";
import { whyNotScheduled } from "#/app/compute-hosts.ts";
import { ComputeWorld } from "./test-world.ts";

async function theHost(world: ComputeWorld) {
  const { services } = await world.expect(200, "GET", "/os-services", { as: world.admin });
  assert.equal(services.length, 1);
  return services[0] as { id: string; host: string };
}

describe("compute services", () => {
  it("are there for each host, with numbers before 2.53 and UUIDs since", async () => {
    await using world = await ComputeWorld.open();
    const as = world.admin;
    const { services } = await world.expect(200, "GET", "/os-services", { as });
    const [{ id, host, updated_at, ...service }] = services;
    assert.match(id, /^[0-9a-f]{8}-/);
    assert.match(updated_at, /^\d{4}-\d\d-\d\dT[\d:]+\.\d{6}$/);
    assert.deepEqual(service, { binary: "nova-compute", zone: "nova", status: "enabled", state: "up", disabled_reason: null, forced_down: false });
    const [old] = (await world.expect(200, "GET", `/os-services?host=${host}&binary=nova-compute`, { as, minor: 10 })).services;
    assert.equal(old.id, 1);
    assert.equal("forced_down" in old, false);
    assert.deepEqual((await world.expect(200, "GET", "/os-services?binary=nova-scheduler", { as })).services, []);
    await world.refusal(403, "GET", "/os-services");
  });

  it("are disabled with a reason, enabled, and forced down", async () => {
    await using world = await ComputeWorld.open();
    const as = world.admin;
    const { id, host } = await theHost(world);
    const put = (body: object, status = 200) => world.expect(status, "PUT", `/os-services/${id}`, { as, body });
    const { service } = await put({ status: "disabled", disabled_reason: "new disks" });
    assert.deepEqual([service.status, service.disabled_reason, service.state], ["disabled", "new disks", "up"]);
    assert.equal(await whyNotScheduled(world.base.context.db, host), `host ${host} is disabled: new disks`);
    assert.equal((await put({ status: "enabled" })).service.disabled_reason, null);
    assert.equal(await whyNotScheduled(world.base.context.db, host), undefined);
    assert.equal((await put({ forced_down: true })).service.state, "down");
    assert.match((await whyNotScheduled(world.base.context.db, host)) ?? "", /forced down/);
    await put({}, 400);
    await put({ disabled_reason: "why" }, 400);
    await world.refusal(403, "PUT", `/os-services/${id}`, { body: { status: "enabled" } });
    await world.refusal(404, "PUT", "/os-services/none", { as, body: { status: "enabled" } });
  });

  it("that are disabled take no servers", async () => {
    await using world = await ComputeWorld.open();
    const { id } = await theHost(world);
    const body = { server: { name: "one", imageRef: await world.base.makeImage(), flavorRef: "42", networks: "none" } };
    await world.expect(200, "PUT", `/os-services/${id}`, { as: world.admin, body: { status: "disabled", disabled_reason: "full" } });
    assert.match(await world.refusal(400, "POST", "/servers", { body }), /^No valid host was found\..*is disabled: full\.$/);
    await world.expect(200, "PUT", `/os-services/${id}`, { as: world.admin, body: { status: "enabled" } });
    await world.expect(202, "POST", "/servers", { body });
  });

  it("are disabled by name before 2.53", async () => {
    await using world = await ComputeWorld.open();
    const as = world.admin;
    const { host } = await theHost(world);
    const named = { host, binary: "nova-compute" };
    const put = async (what: string, body: object, minor = 52) => (await world.expect(200, "PUT", `/os-services/${what}`, { as, minor, body })).service;
    assert.deepEqual(await put("disable", named), { ...named, status: "disabled" });
    assert.deepEqual(await put("disable-log-reason", { ...named, disabled_reason: "why" }), { ...named, status: "disabled", disabled_reason: "why" });
    assert.deepEqual(await put("enable", named), { ...named, status: "enabled" });
    assert.deepEqual(await put("force-down", { ...named, forced_down: true }), { ...named, forced_down: true });
    await world.refusal(404, "PUT", "/os-services/force-down", { as, minor: 10, body: { ...named, forced_down: true } });
    await world.refusal(404, "PUT", "/os-services/enable", { as, minor: 52, body: { ...named, host: "moon" } });
    await world.refusal(404, "PUT", "/os-services/constructor", { as, minor: 52, body: named });
  });

  it("are deleted, and that of this process is back with a new id", async () => {
    await using world = await ComputeWorld.open();
    const { id } = await theHost(world);
    await world.expect(204, "DELETE", `/os-services/${id}`, { as: world.admin });
    assert.notEqual((await theHost(world)).id, id);
  });
});

describe("hypervisors", () => {
  it("show what the host has and what is given away", async () => {
    await using world = await ComputeWorld.open();
    const as = world.admin;
    const facts = await world.base.context.hypervisor.facts();
    const { hypervisors } = await world.expect(200, "GET", "/os-hypervisors/detail", { as, minor: 53 });
    const [shown] = hypervisors;
    assert.deepEqual([shown.hypervisor_hostname, shown.vcpus, shown.memory_mb], [facts.hostname, facts.vcpuCount, Math.floor(facts.memoryBytes / 2 ** 20)]);
    assert.deepEqual([shown.vcpus_used, shown.memory_mb_used, shown.running_vms, shown.state, shown.status], [0, 0, 0, "up", "enabled"]);
    assert.equal(shown.cpu_info.arch, facts.architecture);
    assert.equal(shown.service.host, hostname());
    const { hypervisor } = await world.expect(200, "GET", `/os-hypervisors/${shown.id}`, { as });
    assert.equal("vcpus" in hypervisor, false);
    assert.match(hypervisor.uptime, /load average: /);
    await world.refusal(404, "GET", "/os-hypervisors/none", { as });
    await world.refusal(403, "GET", "/os-hypervisors");
  });

  it("are found by name, paged, and summed up, as their microversion does", async () => {
    await using world = await ComputeWorld.open();
    const as = world.admin;
    const part = (await world.base.context.hypervisor.facts()).hostname.slice(0, 3);
    assert.equal((await world.expect(200, "GET", `/os-hypervisors?hypervisor_hostname_pattern=${part}&with_servers=true`, { as })).hypervisors[0].servers.length, 0);
    await world.refusal(404, "GET", "/os-hypervisors?hypervisor_hostname_pattern=moon", { as });
    assert.equal((await world.expect(200, "GET", `/os-hypervisors/${part}/search`, { as, minor: 52 })).hypervisors[0].id, 1);
    assert.deepEqual((await world.expect(200, "GET", `/os-hypervisors/${part}/servers`, { as, minor: 52 })).hypervisors[0].servers, []);
    await world.refusal(404, "GET", `/os-hypervisors/${part}/search`, { as, minor: 53 });
    assert.match((await world.expect(200, "GET", "/os-hypervisors/1/uptime", { as, minor: 52 })).hypervisor.uptime, / up \d+ days/);
    const { hypervisor_statistics: sums } = await world.expect(200, "GET", "/os-hypervisors/statistics", { as, minor: 87 });
    assert.deepEqual([sums.count, sums.running_vms], [1, 0]);
    await world.refusal(404, "GET", "/os-hypervisors/statistics", { as, minor: 88 });
    assert.deepEqual((await world.expect(200, "GET", "/os-hypervisors?limit=0", { as })).hypervisors, []);
    await world.refusal(400, "GET", "/os-hypervisors?marker=none", { as });
  });
});

describe("hosts with servers", () => {
  it("are not forgotten, and say which and how much they take", async () => {
    await using world = await ComputeWorld.open();
    const as = world.admin;
    const { id } = await theHost(world);
    const server = await world.makeServer();
    assert.match(await world.refusal(409, "DELETE", `/os-services/${id}`, { as }), /is hosting instances/);
    const { hypervisor } = await world.expect(200, "GET", `/os-hypervisors/${id}?with_servers=true`, { as, minor: 87 });
    assert.deepEqual([hypervisor.servers, hypervisor.vcpus_used, hypervisor.memory_mb_used, hypervisor.local_gb_used], [[{ uuid: server, name: "one" }], 1, 192, 1]);
    await world.expect(202, "POST", `/servers/${server}/action`, { body: { shelve: null } });
    await world.base.settle();
    assert.equal((await world.expect(200, "GET", "/os-hypervisors/statistics", { as, minor: 87 })).hypervisor_statistics.running_vms, 0);
  });
});

describe("aggregates and availability zones", () => {
  it("put hosts into zones, one each", async () => {
    await using world = await ComputeWorld.open();
    const as = world.admin;
    const { host } = await theHost(world);
    const zones = async () => (await world.expect(200, "GET", "/os-availability-zone")).availabilityZoneInfo.map(({ zoneName }: { zoneName: string }) => zoneName);
    assert.deepEqual(await zones(), ["nova"]);
    const { aggregate } = await world.expect(200, "POST", "/os-aggregates", { as, body: { aggregate: { name: "fast", availability_zone: "east" } } });
    assert.deepEqual([aggregate.name, aggregate.availability_zone, "hosts" in aggregate], ["fast", "east", false]);
    const act = (id: number, body: object) => world.ask("POST", `/os-aggregates/${id}/action`, { as, body });
    assert.deepEqual((await act(aggregate.id, { add_host: { host } })).json().aggregate.hosts, [host]);
    assert.equal((await act(aggregate.id, { add_host: { host } })).statusCode, 409);
    assert.equal((await act(aggregate.id, { add_host: { host: "moon" } })).statusCode, 404);
    assert.deepEqual(await zones(), ["east"]);
    const id = await world.makeServer({ availability_zone: "east" });
    assert.equal((await world.expect(200, "GET", `/servers/${id}`)).server["OS-EXT-AZ:availability_zone"], "east");
    const elsewhere = { server: { name: "one", imageRef: await world.base.makeImage(), flavorRef: "42", networks: "none", availability_zone: "nova" } };
    assert.match(await world.refusal(400, "POST", "/servers", { body: elsewhere }), /zone is not available/);
    const detail = (await world.expect(200, "GET", "/os-availability-zone/detail", { as })).availabilityZoneInfo[0];
    assert.deepEqual([detail.hosts[host]["nova-compute"].available, detail.hosts[host]["nova-compute"].active], [true, true]);
    await world.refusal(403, "GET", "/os-availability-zone/detail");

    const { aggregate: west } = await world.expect(200, "POST", "/os-aggregates", { as, body: { aggregate: { name: "slow", availability_zone: "west" } } });
    assert.equal((await act(west.id, { add_host: { host } })).statusCode, 409);
    assert.equal((await act(west.id, { set_metadata: { metadata: { availability_zone: null, ssd: "true" } } })).statusCode, 200);
    assert.equal((await act(west.id, { add_host: { host } })).statusCode, 200);
    assert.equal((await act(west.id, { set_metadata: { metadata: { availability_zone: "west" } } })).statusCode, 409);
    assert.deepEqual((await world.expect(200, "GET", `/os-aggregates/${west.id}`, { as })).aggregate.metadata, { ssd: "true" });
    assert.equal((await act(west.id, { fly: {} })).statusCode, 400);
  });

  it("are renamed, and deleted when they are empty", async () => {
    await using world = await ComputeWorld.open();
    const as = world.admin;
    const { host } = await theHost(world);
    const make = (name: string) => world.expect(200, "POST", "/os-aggregates", { as, body: { aggregate: { name } } });
    const { aggregate } = await make("one");
    await make("two");
    assert.equal(await world.refusal(409, "POST", "/os-aggregates", { as, body: { aggregate: { name: "one" } } }), "Aggregate one already exists.");
    const path = `/os-aggregates/${aggregate.id}`;
    await world.refusal(409, "PUT", path, { as, body: { aggregate: { name: "two" } } });
    await world.refusal(400, "PUT", path, { as, body: { aggregate: { availability_zone: "a:b" } } });
    const { aggregate: changed } = await world.expect(200, "PUT", path, { as, minor: 40, body: { aggregate: { name: "three", availability_zone: "east" } } });
    assert.deepEqual([changed.name, changed.availability_zone, "uuid" in changed], ["three", "east", false]);
    await world.expect(200, "POST", `${path}/action`, { as, body: { add_host: { host } } });
    await world.refusal(400, "DELETE", path, { as });
    await world.expect(200, "POST", `${path}/action`, { as, body: { remove_host: { host } } });
    await world.refusal(404, "POST", `${path}/action`, { as, body: { remove_host: { host } } });
    await world.expect(200, "DELETE", path, { as });
    await world.refusal(404, "GET", path, { as });
    await world.refusal(404, "GET", "/os-aggregates/x", { as });
    await world.refusal(403, "GET", "/os-aggregates");
    assert.equal((await world.expect(200, "GET", "/os-aggregates", { as })).aggregates.length, 1);
  });

  it("have images cached before the first server asks", async () => {
    await using world = await ComputeWorld.open();
    const as = world.admin;
    const { host } = await theHost(world);
    const { aggregate } = await world.expect(200, "POST", "/os-aggregates", { as, body: { aggregate: { name: "fast" } } });
    const path = `/os-aggregates/${aggregate.id}/images`;
    const id = await world.base.makeImage({ visibility: "public" });
    const body = { cache: [{ id }] };
    assert.match(await world.refusal(400, "POST", path, { as, body }), /has no hosts/);
    await world.expect(200, "POST", `/os-aggregates/${aggregate.id}/action`, { as, body: { add_host: { host } } });
    await world.expect(202, "POST", path, { as, body });
    await world.base.settle();
    const operations = await world.base.context.db.selectFrom("operation").select(["state", "subject_id"]).where("saga", "=", "precache-image").execute();
    assert.deepEqual(operations.map((operation) => ({ ...operation })), [{ state: "done", subject_id: id }]);
    assert.match(await world.refusal(400, "POST", path, { as, body: { cache: [{ id }, { id }] } }), /Duplicate images/);
    assert.match(await world.refusal(400, "POST", path, { as, body: { cache: [{ id: "11111111-2222-4333-8444-555555555555" }] } }), /could not be found/);
    await world.refusal(400, "POST", path, { as, body: { cache: [] } });
    await world.refusal(403, "POST", path, { body });
    await world.refusal(404, "POST", path, { as, minor: 80, body });
    await world.base.assertAuditClean();
  });
});
