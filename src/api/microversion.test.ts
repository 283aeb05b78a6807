import assert from "node:assert/strict";
import { it } from "node:test";
import { pino } from "pino";
import { cinderFault } from "./fault-shapes.ts";
import { requestedMicroversion, useMicroversions } from "./microversion.ts";
import { createServer, type Server, useFaultShape } from "./server.ts";

const VOLUME = { service: "volume", major: 3, min: 0, max: 71 };

for (const [header, minor] of [
  [undefined, 0],
  ["volume 3.0", 0],
  ["volume 3.71", 71],
  ["volume latest", 71],
  ["Volume  3.5 ", 5],
  ["compute 2.90, volume 3.59", 59],
  [["compute 2.1", "volume 3.3"], 3],
  ["compute 2.90", 0],
] as const) {
  it(`requestedMicroversion() reads ${JSON.stringify(header)} as ${minor}`, () => {
    assert.equal(requestedMicroversion(header, VOLUME), minor);
  });
}

for (const [header, code] of [
  ["volume 3.72", "not_acceptable"],
  ["volume 2.0", "not_acceptable"],
  ["volume 4.1", "not_acceptable"],
  ["volume 3.", "bad_request"],
  ["volume 3.01", "bad_request"],
  ["volume three", "bad_request"],
  ["volume", "bad_request"],
  ["volume 3.1 3.2", "bad_request"],
  ["volume 3.99999999", "bad_request"],
] as const) {
  it(`requestedMicroversion() refuses ${JSON.stringify(header)} as ${code}`, () => {
    assert.throws(() => requestedMicroversion(header, VOLUME), { code });
  });
}

it("useMicroversions() names the version in each answer, and hides calls from versions that do not have them", async () => {
  const app = createServer({ authenticate: () => Promise.reject(new Error("not asked")), log: pino({ enabled: false }) });
  app.register(
    async (scope: Server) => {
      useFaultShape(scope, cinderFault);
      useMicroversions(scope, VOLUME);
      scope.get("/always", { config: { public: true } }, async ({ microversion }) => ({ microversion }));
      scope.get("/later", { config: { public: true, since: 40, until: 50 } }, async () => ({}));
    },
    { prefix: "/volume" },
  );
  const ask = async (path: string, version: string) => app.inject({ url: `/volume/${path}`, headers: { "openstack-api-version": version } });
  const always = await ask("always", "volume 3.12");
  assert.deepEqual(always.json(), { microversion: 12 });
  assert.deepEqual([always.headers["openstack-api-version"], always.headers.vary], ["volume 3.12", "OpenStack-API-Version"]);
  const statuses = [];
  for (const minor of [39, 40, 50, 51]) statuses.push((await ask("later", `volume 3.${minor}`)).statusCode);
  assert.deepEqual(statuses, [404, 200, 200, 404]);
  assert.deepEqual((await ask("always", "volume 3.99")).json(), {
    computeFault: { code: 406, message: "The volume API has the microversions 3.0 to 3.71, not 3.99." },
  });
  await app.close();
});
