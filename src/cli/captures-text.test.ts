import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { CaptureCall, Captures, CaptureWay } from "#/client/mica.ts";
import { MiB } from "#/lib/units.ts";
import { showCaptures } from "./captures-text.ts";
import { Terminal } from "./terminal.ts";

const way: CaptureWay = {
  method: "backup_job",
  methods: { vda: "backup_job" },
  reason: "QEMU shows the disk.",
  strategies: ["stream_convert"],
  pools: ["local"],
  bytes: { read: 3 * MiB, written: 2 * MiB, throughUs: 3 * MiB, temporary: 0 },
  dependsOnParent: false,
  flattenAfter: false,
  consistency: { level: "filesystem", because: "the agent is there" },
  guest: "frozen",
  last: null,
};
const call: CaptureCall = { call: "createImage", allDisks: false, volumeId: null, disks: ["vda"], becomes: "qcow2", refusal: null, ways: [way], closed: [{ method: "at_rest", because: "the guest runs" }] };
const captures: Captures = {
  server: { id: "7f00", name: "web", status: "ACTIVE" },
  guest: { state: "running", shutDown: false, hasAgent: true, agentConnected: true, requiresQuiesce: false, freezeMsMax: 10_000 },
  calls: [call],
};

function shown(calls: readonly CaptureCall[]): string {
  let text = "";
  showCaptures(new Terminal({ write: (more) => (text += more) }, { write: () => {} }, {}), { ...captures, calls: [...calls] });
  return text;
}

describe("showCaptures", () => {
  it("shows what each way would cost, and why", () => {
    const text = shown([call]);
    assert.match(text, /createImage → qcow2 +backup_job +stream_convert +3 MiB +2 MiB +0 B +stands alone +filesystem +writes wait/);
    assert.match(text, /Not open +at_rest: the guest runs/);
    assert.doesNotMatch(text, /Measured/);
  });

  it("shows what the last one took, where there was one", () => {
    const last = { operationId: "o", endedAt: "2026-01-02T03:04:05.000Z", durationMs: 1400, bytes: way.bytes, level: "crash", because: null, freezeMs: 0, downtimeMs: 31 } as const;
    assert.match(shown([{ ...call, ways: [{ ...way, last }] }]), /Measured[\s\S]*backup_job +1\.4 s +3 MiB +2 MiB +crash +31 ms/);
  });

  it("says why a call would be refused", () => {
    const text = shown([{ ...call, ways: [], closed: [], refusal: "Its image says os_require_quiesce." }]);
    assert.match(text, /createImage → qcow2 +refused now/);
    assert.match(text, /Refused +createImage → qcow2: Its image says os_require_quiesce\./);
  });
});
