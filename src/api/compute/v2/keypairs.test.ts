import assert from "node:assert/strict";
import { createPrivateKey, createPublicKey } from "node:crypto";
import { describe, it } from "node:test";
import { ComputeWorld } from "./test-world.ts";

/** Made by ssh-keygen and openssl; the fingerprints are what they say of them. */
const ED25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ3Hg5qHWQI5rPolzOHSw5Pw2MbK3D7XAzIuVhxNhayg ada@lab";
const ECDSA =
  "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBBa9MOkuDHEj8V56zW1rBLYtwUrXKuKm935PRzslKTQN8Acr/CLTXIwUX0Lt/7uFMAZS2S0n7OrsmycNH5BeQls=";
const CERTIFICATE = `-----BEGIN CERTIFICATE-----
MIIBdjCCARugAwIBAgIUJlg3kt83ukrV9KKoT1O+f2EkdzwwCgYIKoZIzj0EAwIw
DzENMAsGA1UEAwwEbWljYTAgFw0yNjExMjEyMTAwNTRaGA8yMTI2MTAyODIxMDA1
NFowDzENMAsGA1UEAwwEbWljYTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABJAm
vl/SB5ESc4GCBii0RqiHQAZ7cCC4KRyJH/6kQ2TGlR0zSEc3vsV6RIWH/cQwoCuT
5KnDQ2TWtp3PveV3+3ijUzBRMB0GA1UdDgQWBBQXAf7fYq9GrscNObC/DXVtFOi1
7jAfBgNVHSMEGDAWgBQXAf7fYq9GrscNObC/DXVtFOi17jAPBgNVHRMBAf8EBTAD
AQH/MAoGCCqGSM49BAMCA0kAMEYCIQCya64XIuA9m8uyQhzulqgLjoOOzJnbNrvW
0glh8Ia9SAIhAPOxku9wryLdRe2eOMyu/ptfFmBRq+wn+MG4tEliVZrs
-----END CERTIFICATE-----
`;

const create = (fields: object) => ({ body: { keypair: fields } });

describe("key pairs", () => {
  for (const [type, public_key, fingerprint] of [
    ["ssh", ED25519, "c0:27:c6:f2:24:44:fe:65:b5:c7:06:97:18:78:c4:c4"],
    ["ssh", ECDSA, "da:93:3a:71:7e:e0:68:81:7b:22:b3:4e:b4:24:53:dd"],
    ["x509", CERTIFICATE, "bc:d1:27:80:d6:9f:6f:08:07:12:28:b3:ea:e1:98:4e:bb:10:29:91"],
  ] as const) {
    it(`are imported: ${public_key.slice(0, 24)}`, async () => {
      await using world = await ComputeWorld.open();
      const { keypair } = await world.expect(201, "POST", "/os-keypairs", create({ name: "k", type, public_key }));
      assert.deepEqual(keypair, { name: "k", type, public_key, fingerprint, user_id: world.alice.userId });
      const { keypair: shown } = await world.expect(200, "GET", "/os-keypairs/k");
      assert.deepEqual([shown.fingerprint, shown.public_key, shown.deleted, shown.updated_at], [fingerprint, public_key, false, null]);
      assert.equal(typeof shown.id, "number");
    });
  }

  it("are made up to 2.91, and the private key is given once and kept nowhere", async () => {
    await using world = await ComputeWorld.open();
    const { keypair } = await world.expect(201, "POST", "/os-keypairs", { minor: 91, ...create({ name: "made" }) });
    const [type, base64] = keypair.public_key.split(" ");
    assert.equal(type, "ssh-rsa");
    const { n, e } = createPublicKey(createPrivateKey(keypair.private_key)).export({ format: "jwk" });
    const wire = Buffer.from(base64, "base64");
    for (const part of [n, e]) assert.ok(wire.includes(Buffer.from(part ?? "", "base64url")));
    assert.equal("private_key" in (await world.expect(200, "GET", "/os-keypairs/made")).keypair, false);
    const rows = await world.base.context.db.selectFrom("keypair").selectAll().execute();
    assert.doesNotMatch(JSON.stringify(rows), /PRIVATE/);
    await world.refusal(400, "POST", "/os-keypairs", { minor: 92, ...create({ name: "later" }) });
    assert.match(await world.refusal(400, "POST", "/os-keypairs", { minor: 91, ...create({ name: "w", type: "x509" }) }), /send the certificate/);
  });

  it("answer as their microversion does", async () => {
    await using world = await ComputeWorld.open();
    const { keypair } = await world.expect(200, "POST", "/os-keypairs", { minor: 1, ...create({ name: "k", public_key: ED25519 }) });
    assert.equal("type" in keypair, false);
    await world.refusal(400, "POST", "/os-keypairs", { minor: 1, ...create({ name: "t", type: "ssh", public_key: ED25519 }) });
    await world.expect(202, "DELETE", "/os-keypairs/k", { minor: 1 });
    assert.equal(await world.refusal(404, "DELETE", "/os-keypairs/k"), `Keypair k not found for user ${world.alice.userId}`);
    await world.expect(201, "POST", "/os-keypairs", create({ name: "a@b.c", public_key: ED25519 }));
    await world.refusal(400, "POST", "/os-keypairs", { minor: 91, ...create({ name: "a@b.d", public_key: ED25519 }) });
    await world.expect(204, "DELETE", "/os-keypairs/a@b.c");
  });

  for (const [what, public_key] of [
    ["nothing", ""],
    ["another word", "hello"],
    ["a cut key", ED25519.slice(0, 60)],
    ["a key of another type than it says", ED25519.replace("ssh-ed25519", "ssh-rsa")],
    ["two lines", `${ED25519}\n${ECDSA}`],
    ["a DSA key", "ssh-dss AAAAB3NzaC1kc3MAAAAA"],
    ["a certificate", CERTIFICATE],
  ] as const) {
    it(`refuse ${what} as an SSH key`, async () => {
      await using world = await ComputeWorld.open();
      const message = await world.refusal(400, "POST", "/os-keypairs", create({ name: "k", public_key }));
      assert.equal(message, "Keypair data is invalid: failed to generate fingerprint");
      assert.match(await world.refusal(400, "POST", "/os-keypairs", create({ name: "k", type: "x509", public_key: ED25519 })), /is invalid/);
    });
  }

  it("belong to their user, and admins may look after them", async () => {
    await using world = await ComputeWorld.open();
    await world.expect(201, "POST", "/os-keypairs", create({ name: "k", public_key: ED25519 }));
    const bob = await world.base.server.login("bob", "wonderland");
    await world.refusal(404, "GET", "/os-keypairs/k", { as: bob });
    await world.refusal(403, "GET", `/os-keypairs/k?user_id=${world.alice.userId}`, { as: bob });
    await world.expect(200, "GET", `/os-keypairs/k?user_id=${world.alice.userId}`, { as: world.admin });
    await world.refusal(404, "GET", `/os-keypairs/k?user_id=${world.alice.userId}`, { as: world.admin, minor: 9 });
    const made = create({ name: "forBob", public_key: ED25519, user_id: bob.userId });
    await world.expect(201, "POST", "/os-keypairs", { ...made, as: world.admin });
    await world.expect(200, "GET", "/os-keypairs/forBob", { as: bob });
    await world.refusal(403, "POST", "/os-keypairs", made);
    await world.expect(204, "DELETE", `/os-keypairs/forBob?user_id=${bob.userId}`, { as: world.admin });
  });

  it("are listed in pages, up to their quota, one of a name", async () => {
    await using world = await ComputeWorld.open({ quotas: { keyPairs: 3 } });
    for (const name of ["b", "a", "c"]) await world.expect(201, "POST", "/os-keypairs", create({ name, public_key: ED25519 }));
    assert.equal(await world.refusal(403, "POST", "/os-keypairs", create({ name: "d", public_key: ED25519 })), "Quota exceeded, too many key pairs.");
    const names = (body: { keypairs: { keypair: { name: string } }[] }) => body.keypairs.map(({ keypair }) => keypair.name);
    const page = await world.expect(200, "GET", "/os-keypairs?limit=2");
    assert.deepEqual(names(page), ["a", "b"]);
    assert.deepEqual(names(await world.expect(200, "GET", `/os-keypairs${new URL(page.keypairs_links[0].href).search}`)), ["c"]);
    assert.deepEqual(names(await world.expect(200, "GET", "/os-keypairs?limit=2", { minor: 34 })), ["a", "b", "c"]);
    assert.equal(await world.refusal(400, "GET", "/os-keypairs?marker=z"), "marker [z] not found");
    await world.expect(204, "DELETE", "/os-keypairs/c");
    assert.equal(await world.refusal(409, "POST", "/os-keypairs", create({ name: "a", public_key: ECDSA })), "Key pair 'a' already exists.");
  });
});
