/** The main job by openstacksdk, and by the programs as Debian installs them with the clouds.yaml that Mica writes. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { promisify } from "node:util";
import { GiB } from "#/lib/units.ts";
import { ADMIN_PASSWORD } from "../support/mica-process.ts";
import { Cloud, DISK_BYTES } from "./cloud.ts";
import { sameDisk } from "./files.ts";

const execute = promisify(execFile);
const LIMIT_MS = 300_000;

let cloud: Cloud;
before(async () => void (cloud = await Cloud.open()));
after(() => cloud?.[Symbol.asyncDispose]());

/** What the administrator finds in the data folder. */
function cloudsFile(): Record<string, string> {
  return { PATH: "/usr/bin:/bin", HOME: cloud.folder, OS_CLIENT_CONFIG_FILE: join(cloud.mica.dataDir, "clouds.yaml"), OS_CLOUD: "mica" };
}

/** glance and cinder know no clouds.yaml. */
function passwordVariables(): Record<string, string> {
  return {
    PATH: "/usr/bin:/bin",
    HOME: cloud.folder,
    OS_AUTH_URL: `${cloud.mica.url}/identity/v3`,
    OS_USERNAME: "admin",
    OS_PASSWORD: ADMIN_PASSWORD,
    OS_USER_DOMAIN_ID: "default",
    OS_PROJECT_NAME: "admin",
    OS_PROJECT_DOMAIN_ID: "default",
  };
}

describe("openstacksdk", () => {
  it("uploads an image, makes a volume and a snapshot of it, and an image again, and a server that takes the volume, and leaves nothing", async () => {
    const script = join(import.meta.dirname, "sdk_flow.py");
    const { stdout } = await execute("/usr/bin/python3", [script, cloud.folder], {
      env: cloudsFile(),
      cwd: cloud.folder,
      timeout: LIMIT_MS,
    });
    assert.deepEqual(JSON.parse(stdout), {
      upload_image: { status: "active", virtual_size: DISK_BYTES, same_again: true, found: true },
      create_volume: { status: "available", bootable: true, metadata: { made: "by sdk" }, image: true },
      create_snapshot: { status: "available", listed: true },
      extend: { size: 2 },
      upload_volume: { status: "active", virtual_size: 2 * GiB, os_distro: "debian" },
      share: { members: [[true, "pending"]] },
      create_server: { status: "ACTIVE", vm_state: "active", metadata: { made: "by sdk" }, flavor: "m1.nano" },
      attach: { attached: true, device: "/dev/vdb", afterwards: "available" },
      stop_and_delete_server: { status: "SHUTOFF", deleted: true, left: 0 },
      list_pages: { volumes: true, images: true },
      ask_for_nothing: { status: 404, says: true },
      delete: { deleted: [true, true, true, true], left: 0 },
    });
    await sameDisk("back.qcow2", "disk.raw")(cloud.folder);
  });
});

describe("as Debian installs them", () => {
  for (const [program, ...argv] of [
    ["openstack", "image", "list", "-f", "value"],
    ["openstack", "volume", "list", "-f", "value"],
    ["openstack", "catalog", "list", "-f", "value"],
    ["glance", "image-list"],
    ["cinder", "list"],
  ] as const) {
    it(`${program} ${argv.join(" ")}`, async () => {
      const env = program === "openstack" ? cloudsFile() : passwordVariables();
      const { stderr } = await execute(program, argv, { env, timeout: LIMIT_MS });
      assert.equal(stderr, "");
    });
  }

  it("the audit finds nothing left over", async () => {
    const { code, output } = await cloud.mica.audit();
    assert.equal(code, 0, output);
  });
});
