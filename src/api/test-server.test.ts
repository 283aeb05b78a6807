import assert from "node:assert/strict";
import { it } from "node:test";
import { TestServer } from "./test-server.ts";

it("TestServer.login() makes users and projects once, with their roles", async () => {
  await using server = await TestServer.start();
  const ann = await server.login("ann", "blue", ["member"]);
  const again = await server.login("ann", "blue", ["reader"]);
  assert.deepEqual([again.userId, again.projectId], [ann.userId, ann.projectId]);
  const caller = await server.identity.authenticate({ token: again.token, serviceToken: undefined, requestId: "req-1" });
  assert.deepEqual([...caller.roles], ["member", "reader"]);
  assert.notEqual((await server.login("admin", "admin")).projectId, ann.projectId);
});
