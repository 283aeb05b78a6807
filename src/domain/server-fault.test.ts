import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { serverFault } from "./server-fault.ts";

const AT = { requestId: "req-1", nowMs: 7 };

describe("faults of servers", () => {
  it("tell users the kind of what tools and storage said, and administrators all of it", () => {
    const said = 'Cannot run "qemu-img create /var/lib/pool/7f.part": exit status 1';
    for (const code of ["tool_failed", "tool_timed_out", "disk_not_found", "pool_full", "pool_unavailable", "hypervisor_unavailable", "internal", undefined]) {
      const { message, details } = serverFault({ code, message: said }, AT);
      assert.doesNotMatch(message, /\/|qemu-img/, String(code));
      assert.match(message, /\. An administrator finds more under the request req-1\.$/, String(code));
      assert.equal(details, said, String(code));
    }
  });

  it("tell refusals in our own words as they are", () => {
    const message = "Its volumes were not ready after 3 s (servers.volumeWaitMsMax).";
    assert.deepEqual(serverFault({ code: "timed_out", message }, AT), { code: 500, message, details: message, createdMs: 7 });
    assert.equal(serverFault({ code: "cancelled", message: "It was cancelled by its user." }, AT).code, 400);
  });
});
