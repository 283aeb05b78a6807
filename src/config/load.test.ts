import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { loadConfig, type ConfigInput } from "./load.ts";

const HOME = { HOME: "/home/ann" };
const load = (input: ConfigInput = {}) => loadConfig({ env: HOME, cwd: "/here", readFile: () => undefined, ...input });
const withFile = (content: unknown, input: ConfigInput = {}) =>
  load({
    readFile: (path) => (path.endsWith("mica.json") ? (typeof content === "string" ? content : JSON.stringify(content)) : undefined),
    ...input,
  });
const refusal = (run: () => unknown): string => {
  let message = "";
  assert.throws(run, (error: Error & { code?: string }) => {
    message = error.message;
    return error.code === "config_invalid";
  });
  return message;
};

describe("loadConfig()", () => {
  it("needs nothing: everything has a default, and the default pool lies in the data folder", () => {
    const { config, sources, file, warnings } = load();
    assert.equal(config.dataDir, "/home/ann/.local/share/mica");
    assert.equal(config.listen, "127.0.0.1:6422");
    assert.equal(config.staging.dir, "/home/ann/.local/share/mica/staging");
    assert.deepEqual(
      config.pools.map(({ name, driver, path, roles, overSubscriptionRatioMax }) => ({
        name,
        driver,
        path,
        roles,
        overSubscriptionRatioMax,
      })),
      [
        {
          name: "local",
          driver: "file",
          path: "/home/ann/.local/share/mica/pools/local",
          roles: ["images", "volumes", "servers", "cache"],
          overSubscriptionRatioMax: 20,
        },
      ],
    );
    assert.equal(config.adminPassword, undefined);
    const { volumes, snapshots, gigabytes, perVolumeGigabytes } = config.quotas;
    assert.deepEqual([volumes, snapshots, gigabytes, perVolumeGigabytes], [10, 10, 1000, -1]);
    assert.deepEqual([...new Set(sources.values())], ["default"]);
    assert.equal(file, undefined);
    assert.deepEqual(warnings, []);
  });

  it("takes the data folder from XDG_DATA_HOME before the home folder", () => {
    assert.equal(load({ env: { ...HOME, XDG_DATA_HOME: "/data" } }).config.dataDir, "/data/mica");
  });

  it("lets a flag win over the environment, that over the file, that over the default", () => {
    const file = { quotas: { volumes: 1, snapshots: 1, gigabytes: 1 } };
    const env = { ...HOME, MICA_QUOTAS_VOLUMES: "2", MICA_QUOTAS_SNAPSHOTS: "2" };
    const { config, sources } = withFile(file, { env, flags: { "quotas.volumes": "3" } });
    assert.deepEqual(config.quotas, { ...load().config.quotas, volumes: 3, snapshots: 2, gigabytes: 1 });
    assert.deepEqual(
      ["volumes", "snapshots", "gigabytes", "perVolumeGigabytes"].map((name) => sources.get(`quotas.${name}`)),
      ["flag", "environment", "file", "default"],
    );
  });

  it("takes the file that --config names before the one that MICA_CONFIG names before the data folder's", () => {
    const read: string[] = [];
    const readFile = (path: string) => {
      read.push(path);
      return "{}";
    };
    load({ readFile, flags: { config: "a.json" }, env: { ...HOME, MICA_CONFIG: "/b.json" } });
    load({ readFile, env: { ...HOME, MICA_CONFIG: "/b.json" } });
    load({ readFile, flags: { dataDir: "d" } });
    assert.deepEqual(read, ["/here/a.json", "/b.json", "/here/d/mica.json"]);
  });

  it("makes a path absolute from where it was written", () => {
    const pools = [{ name: "fast", path: "fast" }];
    const { config } = load({
      readFile: () => JSON.stringify({ pools, staging: { dir: "s" } }),
      flags: { config: "/etc/mica/mica.json", dataDir: "d" },
    });
    assert.deepEqual([config.pools[0]?.path, config.staging.dir, config.dataDir], ["/etc/mica/fast", "/etc/mica/s", "/here/d"]);
  });

  it("allows comment lines in the file, and names the line of a slip", () => {
    assert.equal(withFile('{\n  // a lab\n  "availabilityZone": "lab"\n}').config.availabilityZone, "lab");
    assert.match(
      refusal(() => withFile('{\n "availabilityZone": lab\n}')),
      /mica\.json: .*(line 2|lab)/s,
    );
  });

  it("fills in what a pool of the file leaves out", () => {
    const [pool] = withFile({ pools: [{ name: "fast", path: "/fast" }] }).config.pools;
    assert.deepEqual([pool?.driver, pool?.cloneDepthMax, pool?.roles], ["file", 5, ["images", "volumes", "servers", "cache"]]);
  });

  it("takes pools from the environment as JSON", () => {
    const { config } = load({ env: { ...HOME, MICA_POOLS: '[{"name":"p","path":"pool"}]' } });
    assert.equal(config.pools[0]?.path, "/here/pool");
  });

  it("counts an empty variable as not set", () => {
    assert.equal(load({ env: { ...HOME, MICA_LISTEN: "" } }).sources.get("listen"), "default");
  });
});

describe("loadConfig() refuses", () => {
  const cases: [string, () => unknown, RegExp][] = [
    ["an unknown option of the file", () => withFile({ logLevl: "x" }), /logLevl in .*mica\.json is unknown: did you mean logLevel\?/],
    ["an unknown option in a section", () => withFile({ quotas: { cakes: 3 } }), /quotas\.cakes in .* is unknown/],
    ["an unknown key of a pool", () => withFile({ pools: [{ name: "a", path: "/a", roof: 1 }] }), /pools\[0\]\.roof is unknown/],
    ["a pool of another host without a worker", () => withFile({ pools: [{ name: "a", driver: "worker" }] }), /pools: "a" has driver "worker" and needs a section "worker"/],
    ["a worker without TLS", () => withFile({ pools: [{ name: "a", driver: "worker", worker: { url: "http://b:1", pool: "a", tlsDir: "/t" } }] }), /url is "http:\/\/b:1", but must be an https URL without a path/],
    ["two pools that are one pool of a worker", () => withFile({ pools: ["a", "b"].map((name) => ({ name, driver: "worker", worker: { url: `https://h:1${name === "a" ? "" : "/"}`, pool: "x", tlsDir: "/t" } })) }), /two of them have the pool of a worker "https:\/\/h:1 x"/],
    ["a pool without a path", () => withFile({ pools: [{ name: "a" }] }), /pools: "a" has driver "file" and needs a path/],
    [
      "a driver that it does not have",
      () => withFile({ pools: [{ name: "a", path: "/a", driver: "tape" }] }),
      /pools\[0\]\.driver is "tape", but must be one of file/,
    ],
    [
      "a value of the wrong type",
      () => withFile({ quotas: { volumes: "many" } }),
      /quotas\.volumes is "many", but must be a whole number, at least -1 \(.*mica\.json\)/,
    ],
    ["a section that is no object", () => withFile({ quotas: 3 }), /quotas in .* is unknown/],
    ["a file that is no object", () => withFile([]), /the whole file/],
    [
      "a number out of bounds",
      () => load({ flags: { tokenLifetimeMs: "5" } }),
      /tokenLifetimeMs is 5, but must be a whole number of ms, at least 60000 \(the flag --token-lifetime-ms\)/,
    ],
    [
      "text where a number is wanted",
      () => load({ env: { ...HOME, MICA_QUOTAS_VOLUMES: "1e3" } }),
      /quotas\.volumes is "1e3".*\(MICA_QUOTAS_VOLUMES in the environment\)/,
    ],
    ["an address without a port", () => load({ flags: { listen: "localhost" } }), /listen is "localhost", but must be HOST:PORT/],
    ["a level that there is not", () => load({ flags: { logLevel: "loud" } }), /logLevel is "loud", but must be one of trace, debug/],
    [
      "a misspelt variable",
      () => load({ env: { ...HOME, MICA_LISTN: "x" } }),
      /MICA_LISTN in the environment is unknown: did you mean MICA_LISTEN\?/,
    ],
    [
      "a secret in the file",
      () => withFile({ adminPassword: "geheim" }),
      /adminPassword in .* is a secret: give it as MICA_ADMIN_PASSWORD/,
    ],
    ["a file that was named and is not there", () => load({ flags: { config: "/none.json" } }), /\/none\.json does not exist/],
    ["a data folder that moves itself", () => withFile({ dataDir: "/elsewhere" }), /cannot move the folder/],
    [
      "two pools of one name",
      () =>
        withFile({
          pools: [
            { name: "a", path: "/a" },
            { name: "a", path: "/b" },
          ],
        }),
      /two of them have the name "a"/,
    ],
    [
      "two pools in one thin pool",
      () =>
        withFile({
          pools: [
            { name: "a", driver: "lvm", lvm: { volumeGroup: "vg" } },
            { name: "b", driver: "lvm", lvm: { volumeGroup: "vg", type: "thick" } },
            { name: "c", driver: "lvm", lvm: { volumeGroup: "vg", thinPool: "other" } },
            { name: "d", driver: "lvm", lvm: { volumeGroup: "vg", type: "thin", thinPool: "vg-pool" } },
          ],
        }),
      /two of them have the volumes of "vg\/vg-pool"/,
    ],
    [
      "pools that hold no images",
      () => withFile({ pools: [{ name: "a", path: "/a", roles: ["volumes"] }] }),
      /none of them has the role "images"/,
    ],
    ["a page longer than the longest", () => load({ flags: { "pages.defaultLimit": "2000" } }), /must be at most pages\.maxLimit, 1000/],
  ];
  for (const [what, run, words] of cases) {
    it(what, () => assert.match(refusal(run), words));
  }

  it("everything at once, not one mistake per start", () => {
    const message = refusal(() => withFile({ logLevl: "x", quotas: { volumes: "many" } }, { flags: { listen: "here" } }));
    assert.deepEqual(
      ["logLevl", "quotas.volumes", "listen"].filter((key) => !message.includes(key)),
      [],
    );
  });

  it("without ever repeating a secret", () => {
    const message = refusal(() => withFile({ adminPassword: "geheim" }));
    assert.doesNotMatch(message, /geheim/);
  });

  it("nothing that others have put into the environment, and warns of it", () => {
    const { warnings } = load({ env: { ...HOME, MICA_SERVICE_HOST: "10.0.0.1", MICA_PORT: "tcp://10.0.0.1:80" } });
    assert.equal(warnings.length, 2);
    assert.match(warnings.join(), /MICA_SERVICE_HOST in the environment is no option/);
  });
});
