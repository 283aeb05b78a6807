import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { type CloudSearch, findCloud } from "./cloud.ts";
import { copyCloud, writeCloudsFile } from "./clouds-file.ts";

const CLOUD = (url: string) => `clouds:\n  mica:\n    auth: {auth_url: "${url}", username: ann, password: geheim, project_name: lab}\n`;
const search = (files: Record<string, string>, input: Partial<CloudSearch> = {}) =>
  findCloud({ env: { HOME: "/home/ann" }, cwd: "/here", dataDir: "/data", readFile: (path) => files[path], ...input });

describe("findCloud()", () => {
  it("looks where every OpenStack client looks, and at last into the data folder", () => {
    const places = ["/here/clouds.yaml", "/home/ann/.config/openstack/clouds.yaml", "/etc/openstack/clouds.yaml", "/data/clouds.yaml"];
    for (let first = 0; first < places.length; first++) {
      const files = Object.fromEntries(places.slice(first).map((path) => [path, CLOUD(`http://${path.length}/identity/v3`)]));
      assert.equal(search(files).from, places[first]);
    }
  });

  it("takes the OS_ variables first, but for a cloud that was named", () => {
    const env = { HOME: "/h", OS_AUTH_URL: "http://env/identity", OS_USERNAME: "ann", OS_PASSWORD: "x", OS_PROJECT_NAME: "lab" };
    const files = { "/here/clouds.yaml": CLOUD("http://file/identity/v3") };
    assert.deepEqual(
      [search(files, { env }).authUrl, search(files, { env, name: "mica" }).authUrl],
      ["http://env/identity/v3", "http://file/identity/v3"],
    );
  });

  it("asks for a password token of the default domain, scoped to the project", () => {
    assert.deepEqual(search({ "/here/clouds.yaml": CLOUD("http://h/identity/v3") }).auth, {
      identity: { methods: ["password"], password: { user: { name: "ann", domain: { id: "default" }, password: "geheim" } } },
      scope: { project: { name: "lab", domain: { id: "default" } } },
    });
  });

  it("uses an application credential where there is one, which brings its own scope", () => {
    const env = { OS_AUTH_URL: "http://h/v3", OS_APPLICATION_CREDENTIAL_ID: "i", OS_APPLICATION_CREDENTIAL_SECRET: "s" };
    assert.deepEqual(search({}, { env }).auth, {
      identity: { methods: ["application_credential"], application_credential: { id: "i", secret: "s" } },
    });
  });

  it("says where it looked when there is none, and which file is broken", () => {
    assert.throws(() => search({}), { failure: "no_access", message: /no cloud "mica" in \/here\/clouds\.yaml, .*\/data\/clouds\.yaml/ });
    assert.throws(() => search({ "/here/clouds.yaml": "clouds: [" }), {
      failure: "no_access",
      message: /Cannot read \/here\/clouds\.yaml/,
    });
  });
});

describe("writeCloudsFile()", () => {
  const entry = {
    name: "mica",
    authUrl: "http://h/identity/v3",
    username: "admin",
    password: "#1: geheim",
    projectName: "admin",
    region: "lab",
  };

  it("makes a file that findCloud() reads, and that only its owner may read", async () => {
    await using folder = await temporaryFolder();
    const path = join(folder.path, "new", "clouds.yaml");
    await writeCloudsFile(path, entry);
    assert.equal((await stat(path)).mode & 0o777, 0o600);
    const { auth } = search({ "/here/clouds.yaml": await readFile(path, "utf8") });
    assert.match(JSON.stringify(auth), /"password":"#1: geheim"/);
  });

  it("keeps the password where it is told none: a new address, an old password", async () => {
    await using folder = await temporaryFolder();
    const path = join(folder.path, "clouds.yaml");
    await writeCloudsFile(path, entry);
    await writeCloudsFile(path, { ...entry, authUrl: "http://new/identity/v3", password: undefined });
    const { auth, authUrl } = search({ "/here/clouds.yaml": await readFile(path, "utf8") });
    assert.deepEqual([authUrl, JSON.stringify(auth).includes("#1: geheim")], ["http://new/identity/v3", true]);
  });

  it("keeps what else stands in the file", async () => {
    await using folder = await temporaryFolder();
    const [own, other] = [join(folder.path, "own.yaml"), join(folder.path, "other.yaml")];
    await writeCloudsFile(own, entry);
    await writeCloudsFile(other, { ...entry, name: "work" });
    await copyCloud(own, other, "mica");
    assert.match(await readFile(other, "utf8"), /work:[\s\S]*mica:/);
  });
});

async function temporaryFolder() {
  const path = await mkdtemp(join(tmpdir(), "mica-clouds-"));
  return { path, [Symbol.asyncDispose]: async () => rm(path, { recursive: true }) };
}
