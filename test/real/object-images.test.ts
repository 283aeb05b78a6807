/**
 * Images that lie in an S3 service or on a web server, with the stock clients: a volume of such an image is made in one pass, from
 * where the bytes are, without a temporary file.
 */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { DeleteObjectCommand } from "@aws-sdk/client-s3";
import { GiB, MiB } from "#/lib/units.ts";
import { openClient } from "#/storage/s3/client.ts";
import { run } from "#/tools/run.ts";
import { Cloud } from "../openstack/cloud.ts";
import { startWebServer, type WebFile } from "../support/web-server.ts";
import { OWNER, sectionOf, startObjectStore } from "./support/object-store.ts";

await using starting = new AsyncDisposableStack();
const store = starting.use(await startObjectStore());
const web = starting.use(await startWebServer());
const config = {
  images: { showMultipleLocations: true },
  pools: [
    { name: "objects", driver: "s3", s3: sectionOf(store), roles: ["images"] },
    { name: "web", driver: "http", http: { allowedHosts: [new URL(web.url).host] }, roles: ["images"] },
    { name: "local", path: "pools/local", roles: ["images", "volumes"] },
  ],
};
const cloud = starting.use(await Cloud.open({ config, env: store.env }));
const world = starting.move();
after(() => world.disposeAsync());
Object.assign(process.env, store.env);

/** Runs a command as a member of a project, and reads the JSON that it prints. */
async function openstack(...argv: string[]): Promise<Record<string, string>> {
  const { status, stdout, stderr } = await cloud.run("openstack", [...argv, "-f", "json"], { as: "member" });
  assert.equal(status, 0, stderr);
  return JSON.parse(stdout);
}

async function uploaded(name: string, format: "raw" | "qcow2"): Promise<string> {
  const { id = "" } = await openstack("image", "create", "--disk-format", format, "--container-format", "bare", "--file", `disk.${format}`, name);
  return id;
}

/** A volume of the image, and what its making has moved. */
async function volumeOf(image: string, name: string) {
  const { id = "" } = await openstack("volume", "create", "--image", image, "--size", "1", name);
  const volume = await cloud.mica.until(() => openstack("volume", "show", id), ({ status }) => status !== "creating");
  assert.equal(volume["status"], "available");
  const { operations } = await cloud.mica.json("GET", `/mica/v1/operations?subject=${id}`);
  return { id, plan: operations[0].plan, actual: operations[0].actual };
}

/** The volume's disk has the content of the test disk, and zeroes after it. */
async function assertHasDisk(volumeId: string): Promise<void> {
  const { operations } = await cloud.mica.json("GET", `/mica/v1/operations?subject=${volumeId}`);
  assert.equal(operations[0].plan.target.pool, "local");
  const copy = await openstack("image", "create", "--volume", volumeId, "--disk-format", "qcow2", `copy of ${volumeId}`);
  const id = copy["image_id"] ?? copy["id"] ?? "";
  await cloud.mica.until(() => openstack("image", "show", id), ({ status }) => status === "active");
  const saved = await cloud.run("openstack", ["image", "save", "--file", "copy.qcow2", id], { as: "member" });
  assert.equal(saved.status, 0, saved.stderr);
  const compare = ["compare", "-f", "raw", "-F", "qcow2", join(cloud.folder, "disk.raw"), join(cloud.folder, "copy.qcow2")];
  await run("qemu-img", compare, { timeoutMs: 60_000 });
}

async function serve(path: string, format: "raw" | "qcow2", more: Partial<WebFile> = {}): Promise<Buffer> {
  const bytes = await readFile(join(cloud.folder, `disk.${format}`));
  web.files.set(path, { bytes, ...more });
  return bytes;
}

async function registered(name: string, format: "raw" | "qcow2", path: string): Promise<string> {
  const { id = "" } = await openstack("image", "create", "--disk-format", format, "--container-format", "bare", name);
  const { status, stderr } = await cloud.run("glance", ["location-add", id, "--url", web.url + path], { as: "member" });
  assert.equal(status, 0, stderr);
  return id;
}

describe("An image in an S3 service", () => {
  for (const format of ["qcow2", "raw"] as const) {
    it(`of format ${format} is uploaded, and becomes a volume in one pass`, async () => {
      const image = await uploaded(`s3 ${format}`, format);
      const shown = await openstack("image", "show", image);
      assert.deepEqual([shown["status"], (shown["properties"] as unknown as Record<string, string>)["stores"]], ["active", "objects"]);
      const { id, plan, actual } = await volumeOf(image, `of s3 ${format}`);
      assert.equal(plan.strategy, "stream_convert");
      assert.equal(actual.bytesTemporary, 0);
      assert.ok(actual.bytesRead > 0 && actual.bytesRead <= 25 * MiB, `${actual.bytesRead} bytes were read`);
      await assertHasDisk(id);
    });
  }

  it("comes back as it was, and takes its object with it when it is deleted", async () => {
    const before = JSON.parse(await store.admin("bucket", "stats", "--bucket", "images")).usage["rgw.main"].num_objects;
    const image = await uploaded("to be saved", "qcow2");
    const saved = await cloud.run("openstack", ["image", "save", "--file", "saved.qcow2", image], { as: "member" });
    assert.equal(saved.status, 0, saved.stderr);
    const [sent, got] = await Promise.all(["disk.qcow2", "saved.qcow2"].map((name) => readFile(join(cloud.folder, name))));
    assert.equal(Buffer.compare(sent as Buffer, got as Buffer), 0);
    assert.equal((await cloud.run("openstack", ["image", "delete", image], { as: "member" })).status, 0);
    const usage = JSON.parse(await store.admin("bucket", "stats", "--bucket", "images")).usage["rgw.main"];
    assert.equal(usage.num_objects, before);
  });

  it("that the service has no room for is refused, and stays queued", async () => {
    await store.admin("quota", "set", "--quota-scope=user", "--uid", OWNER, "--max-size=1M");
    await store.admin("quota", "enable", "--quota-scope=user", "--uid", OWNER);
    const { status, stderr } = await cloud.run("openstack", ["image", "create", "--disk-format", "raw", "--file", "disk.raw", "too large"], { as: "member" });
    await store.admin("quota", "disable", "--quota-scope=user", "--uid", OWNER);
    assert.notEqual(status, 0);
    assert.match(stderr, /413|quota of the bucket or of its user is used up/);
  });

  it("whose bytes were lost is found by the audit", async () => {
    const image = await uploaded("to be lost", "qcow2");
    assert.equal((await cloud.mica.audit()).code, 0);
    const { locations } = await cloud.mica.json("GET", `/image/v2/images/${image}`);
    const key = new URL(locations[0].url).pathname.split("/").at(-1);
    const client = openClient(sectionOf(store));
    await client.send(new DeleteObjectCommand({ Bucket: "images", Key: key }));
    client.destroy();
    const { code, output } = await cloud.mica.audit();
    assert.notEqual(code, 0);
    assert.match(output, new RegExp(`Disk ${key} of image ${image} has no bytes in pool "objects"`));
    assert.equal((await cloud.run("openstack", ["image", "delete", image], { as: "member" })).status, 0);
    assert.equal((await cloud.mica.audit()).code, 0);
  });

  it("leaves no key in the configuration that is shown, nor in the log", async () => {
    const { AWS_ACCESS_KEY_ID: key, AWS_SECRET_ACCESS_KEY: secret } = store.env;
    for (const text of [cloud.mica.output, JSON.stringify(await cloud.mica.json("GET", "/mica/v1/pools"))]) {
      assert.ok(!text.includes(secret) && !text.includes(key));
    }
  });
});

describe("An image on a web server", () => {
  it("is an image at once, without a byte kept, and a volume in one pass", async () => {
    const bytes = await serve("/disk.qcow2", "qcow2");
    const image = await registered("on the web", "qcow2", "/disk.qcow2");
    const shown = await openstack("image", "show", image);
    assert.deepEqual([shown["status"], shown["size"], shown["virtual_size"]], ["active", bytes.length, 24 * MiB]);
    const { id, plan, actual } = await volumeOf(image, "of the web");
    assert.deepEqual([plan.strategy, actual.bytesTemporary], ["stream_convert", 0]);
    await assertHasDisk(id);
    const hash = createHash("sha512").update(bytes).digest("hex");
    await cloud.mica.until(() => cloud.mica.json("GET", `/image/v2/images/${image}`), ({ os_hash_value }) => os_hash_value === hash);
  });

  it("is staged where its server has no ranges, and the plan says so", async () => {
    await serve("/plain.qcow2", "qcow2", { ranges: "none" });
    const image = await registered("without ranges", "qcow2", "/plain.qcow2");
    const { id, plan, actual } = await volumeOf(image, "of the plain web");
    assert.equal(plan.strategy, "staged_convert");
    const because = plan.passedOver.find(({ strategy }: { strategy: string }) => strategy === "stream_convert")?.because;
    assert.match(because, /does not serve ranges/);
    assert.ok(actual.bytesTemporary > 0 && actual.bytesTemporary < GiB);
    await assertHasDisk(id);
  });

  it("survives its server: the volume stays, the image can be deleted, and the audit is clean", async () => {
    await serve("/short-lived.raw", "raw");
    const image = await registered("short-lived", "raw", "/short-lived.raw");
    const { id } = await volumeOf(image, "that stays");
    web.files.delete("/short-lived.raw");
    assert.notEqual((await cloud.mica.audit()).code, 0);
    assert.equal((await cloud.run("openstack", ["image", "delete", image], { as: "member" })).status, 0);
    await assertHasDisk(id);
    const { code, output } = await cloud.mica.audit();
    assert.equal(code, 0, output);
  });
});
