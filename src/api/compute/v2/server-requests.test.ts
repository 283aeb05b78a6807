import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { ComputeWorld } from "./test-world.ts";

const FLAVOR = "42";

/** What is asked for, beside an image and a flavor, and why not. */
const UNFIT: readonly (readonly [string, object, number, RegExp])[] = [
  ["a name that cannot be printed", { name: "a\u0000b" }, 400, /name/],
  ["a name of spaces", { name: "  " }, 400, /name/],
  ["a name that begins with a space", { name: " a" }, 400, /name/],
  ["a name that ends with one", { name: "a b " }, 400, /name/],
  ["a description with a control character", { description: "a\u0001" }, 400, /description/],
  ["an address that is none", { accessIPv4: "999.1.1.1" }, 400, /accessIPv4/],
  ["colons for an address", { accessIPv6: ":::::" }, 400, /accessIPv6/],
  ["a host with the zone, by a member", { availability_zone: "nova:here" }, 403, /choose the host/],
  ["a zone with too many parts", { availability_zone: "nova:a:b:c" }, 400, /Unable to parse availability_zone/],
  ["more servers at least than one request makes", { min_count: 2_147_483_647 }, 403, /Quota exceeded for instances/],
  ["one volume for two servers", { min_count: 2, block_device_mapping_v2: [{ source_type: "volume", destination_type: "volume", uuid: "v" }] }, 400, /multiple instances/],
  ["a blank disk of something", { block_device_mapping_v2: [{ source_type: "blank", destination_type: "local", uuid: "v" }] }, 400, /Invalid device UUID/],
  ["swap that the flavor has not", { block_device_mapping_v2: [{ source_type: "blank", destination_type: "local", guest_format: "swap", volume_size: 0 }] }, 400, /Swap drive/],
  ["an ephemeral disk that the flavor has not", { block_device_mapping_v2: [{ source_type: "blank", destination_type: "local" }] }, 400, /Ephemeral disks/],
];

describe("requests of servers", () => {
  it("are refused in words for what makes none", async () => {
    await using world = await ComputeWorld.open();
    const imageRef = await world.base.makeImage();
    for (const [what, fields, status, words] of UNFIT) {
      const body = { server: { name: "one", imageRef, flavorRef: FLAVOR, networks: "none", ...fields } };
      assert.match(await world.refusal(status, "POST", "/servers", { body }), words, what);
    }
    const mapped = await world.base.makeImage({ properties: { bdm_v2: "true", block_device_mapping: "{" } });
    const body = { server: { name: "one", imageRef: mapped, flavorRef: FLAVOR, networks: "none" } };
    assert.match(await world.refusal(400, "POST", "/servers", { body }), /block_device_mapping is not a list/);
  });

  it("are refused with 403 where their volumes are beyond a quota", async () => {
    await using world = await ComputeWorld.open();
    const root = { source_type: "image", destination_type: "volume", uuid: await world.base.makeImage(), boot_index: 0 };
    for (const volume_size of [1_000_000, 2_147_483_647]) {
      const body = { server: { name: "one", flavorRef: FLAVOR, networks: "none", block_device_mapping_v2: [{ ...root, volume_size }] } };
      await world.refusal(403, "POST", "/servers", { body });
    }
    assert.deepEqual((await world.expect(200, "GET", "/servers")).servers, []);
  });

  it("make as many servers as the quota has room for, however many are asked for", { timeout: 20_000 }, async () => {
    await using world = await ComputeWorld.open();
    const imageRef = await world.base.makeImage();
    const server = { name: "many", imageRef, flavorRef: FLAVOR, networks: "none", min_count: 3, max_count: 2_147_483_647, return_reservation_id: true };
    await world.expect(202, "POST", "/servers", { body: { server } });
    assert.equal((await world.expect(200, "GET", "/servers")).servers.length, 10);
    assert.equal((await world.expect(200, "GET", "/limits")).limits.absolute.totalInstancesUsed, 10);
    assert.match(await world.refusal(403, "POST", "/servers", { body: { server } }), /Quota exceeded for instances/);
    await world.base.settle();
  });

  it("have swap in MiB", async () => {
    await using world = await ComputeWorld.open();
    const flavor = { name: "swapping", id: "swapping", vcpus: 1, ram: 192, disk: 1, swap: 64 };
    await world.expect(200, "POST", "/flavors", { as: world.admin, body: { flavor } });
    const swap = { source_type: "blank", destination_type: "local", guest_format: "swap", boot_index: -1 };
    const id = await world.makeServer({ flavorRef: "swapping", block_device_mapping_v2: [{ ...swap, volume_size: 32 }] });
    const { server } = await world.expect(200, "GET", `/servers/${id}`);
    assert.deepEqual([server.status, server.fault], ["ACTIVE", undefined]);
    const body = { server: { name: "one", imageRef: await world.base.makeImage(), flavorRef: "swapping", networks: "none", block_device_mapping_v2: [{ ...swap, volume_size: 65 }] } };
    assert.match(await world.refusal(400, "POST", "/servers", { body }), /Swap drive requested is larger/);
  });

  it("name tags of any letters, and metadata by names that objects have", async () => {
    await using world = await ComputeWorld.open();
    const id = await world.makeServer({ metadata: { toString: "z" } });
    const answer = await world.ask("PUT", `/servers/${id}/tags/${encodeURIComponent("☃ 1")}`);
    assert.equal(answer.statusCode, 201, answer.body);
    assert.ok(String(answer.headers.location).endsWith("/tags/%E2%98%83%201"));
    assert.deepEqual((await world.expect(200, "GET", `/servers/${id}/metadata/toString`)).meta, { toString: "z" });
    await world.refusal(404, "GET", `/servers/${id}/metadata/constructor`);
    await world.refusal(400, "PUT", `/servers/${id}/metadata/constructor`, { body: { meta: { a: "b" } } });
  });

  it("may ask for more than a page has, and name images and flavors by their addresses", async () => {
    await using world = await ComputeWorld.open();
    const id = await world.makeServer();
    assert.equal((await world.expect(200, "GET", "/servers?limit=99999999999999999999")).servers.length, 1);
    const bookmark = "http://cloud.example/compute/";
    await world.expect(202, "POST", `/servers/${id}/action`, { body: { rebuild: { imageRef: `${bookmark}images/${await world.base.makeImage()}` } } });
    await world.base.settle();
    await world.expect(202, "POST", `/servers/${id}/action`, { body: { resize: { flavorRef: `${bookmark}flavors/1` } } });
    await world.base.settle();
    await world.refusal(403, "POST", `/servers/${id}/action`, { body: { evacuate: {} } });
  });

  it("boot from a volume where a mapping says so, whatever image they name beside it", async () => {
    await using world = await ComputeWorld.open();
    const imageRef = await world.base.makeImage();
    const root = { source_type: "image", destination_type: "volume", uuid: imageRef, boot_index: 0, volume_size: 1 };
    const id = await world.makeServer({ imageRef, block_device_mapping_v2: [root] });
    const { server } = await world.expect(200, "GET", `/servers/${id}`);
    assert.deepEqual([server.status, server.image, server["os-extended-volumes:volumes_attached"].length], ["ACTIVE", "", 1]);
    const local = { source_type: "image", destination_type: "local", uuid: imageRef, boot_index: 0 };
    const body = { server: { name: "one", imageRef, flavorRef: FLAVOR, networks: "none", block_device_mapping_v2: [local, root] } };
    assert.match(await world.refusal(400, "POST", "/servers", { body }), /Boot sequence/);
  });

  it("take the root from an image that stands for volumes, also where clients put the image in as the root", async () => {
    await using world = await ComputeWorld.open();
    const mapping = { source_type: "image", destination_type: "volume", image_id: await world.base.makeImage(), boot_index: 0, volume_size: 1 };
    const imageRef = await world.base.makeImage({ properties: { bdm_v2: "true", block_device_mapping: JSON.stringify([mapping]) } });
    const local = { source_type: "image", destination_type: "local", uuid: imageRef, boot_index: 0, delete_on_termination: true };
    const id = await world.makeServer({ imageRef, block_device_mapping_v2: [local] });
    const { server } = await world.expect(200, "GET", `/servers/${id}`);
    assert.deepEqual([server.status, server.image, server["os-extended-volumes:volumes_attached"].length], ["ACTIVE", "", 1]);
  });

  it("are held to the memory that an image wants, also by way of a volume", async () => {
    await using world = await ComputeWorld.open();
    const uuid = await world.base.makeImage({ minRamMib: 1024 });
    const root = { source_type: "image", destination_type: "volume", uuid, boot_index: 0, volume_size: 1 };
    const server = { name: "one", flavorRef: FLAVOR, networks: "none", block_device_mapping_v2: [root] };
    assert.match(await world.refusal(400, "POST", "/servers", { body: { server } }), /memory is too small/);
    const typed = { ...server, block_device_mapping_v2: [{ ...root, volume_type: "none such" }] };
    assert.match(await world.refusal(400, "POST", "/servers", { body: { server: typed } }), /^Volume type none such could not be found\.$/);
  });

  it("are for admins only where a local disk has no size", async () => {
    await using world = await ComputeWorld.open();
    await world.expect(200, "POST", "/flavors", { as: world.admin, body: { flavor: { name: "zero", id: "zero", vcpus: 1, ram: 192, disk: 0 } } });
    const imageRef = await world.base.makeImage({ visibility: "public" });
    const body = { server: { name: "one", imageRef, flavorRef: "zero", networks: "none" } };
    assert.equal(await world.refusal(403, "POST", "/servers", { body }), "Only volume-backed servers are allowed for flavors with zero disk.");
    await world.makeServer({ flavorRef: "zero", imageRef }, { as: world.admin });
    const root = { source_type: "image", destination_type: "volume", uuid: imageRef, boot_index: 0, volume_size: 1 };
    await world.makeServer({ flavorRef: "zero", block_device_mapping_v2: [root], imageRef: "" });
  });
});
