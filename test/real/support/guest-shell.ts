import assert from "node:assert/strict";
import { setTimeout as delay } from "node:timers/promises";
import { MINUTE_MS } from "#/lib/units.ts";
import type { HypervisorDriver } from "#/vm/driver.ts";

interface ExecStatus {
  readonly exited: boolean;
  readonly exitcode?: number;
  readonly "out-data"?: string;
  readonly "err-data"?: string;
}

/** Has the agent run a shell command in the guest, and returns what it printed, trimmed. Fails where the command does. */
export async function inGuest(driver: HypervisorDriver, id: string, command: string): Promise<string> {
  const args = { path: "/bin/sh", arg: ["-c", command], env: ["PATH=/bin:/sbin:/usr/sbin"], "capture-output": true };
  const { pid } = (await driver.agent(id, { execute: "guest-exec", arguments: args })) as { pid: number };
  for (const dueMs = performance.now() + MINUTE_MS; performance.now() < dueMs; await delay(20)) {
    const status = (await driver.agent(id, { execute: "guest-exec-status", arguments: { pid } })) as ExecStatus;
    if (!status.exited) continue;
    assert.equal(status.exitcode, 0, `in the guest, "${command}" said: ${text(status["err-data"])}${text(status["out-data"])}`);
    return text(status["out-data"]).trim();
  }
  return assert.fail(`in the guest, "${command}" did not end`);
}

function text(base64 = ""): string {
  return Buffer.from(base64, "base64").toString("utf8");
}
