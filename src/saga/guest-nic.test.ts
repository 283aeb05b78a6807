import assert from "node:assert/strict";
import { it } from "node:test";
import { guestNic } from "#/saga/guest-nic.ts";

it("a guest is connected as its host's operator says, by the same address at each start", () => {
  const { mac, ...user } = guestNic("user", "server");
  assert.match(mac, /^fa:16:3e(:[0-9a-f]{2}){3}$/);
  assert.deepEqual(user, { kind: "user", model: undefined });
  assert.deepEqual(guestNic("bridge:br-lab.7", "server", "e1000"), { kind: "bridge", name: "br-lab.7", mac, model: "e1000" });
  assert.deepEqual(guestNic("network:default", "server"), { kind: "network", name: "default", mac, model: undefined });
  assert.notEqual(guestNic("user", "another").mac, mac);
});
